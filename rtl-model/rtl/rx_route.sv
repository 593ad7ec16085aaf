// Where a TLP that came goes: completions to the reads, posted requests to target_write, and requests that want
// an answer into a queue for target_read, so that nothing behind them has to wait.
module rx_route #(
  parameter int W = 256
) (
  input  logic         clk_i,
  input  logic         rst_ni,
  // From the pins: a request that wants an answer has begun.
  input  logic         sop_i,
  input  logic [7:0]   first_byte_i,
  output logic         np_ok_o,
  // From tlp_rx.
  input  logic         hdr_valid_i,
  input  logic [127:0] hdr_i,
  input  logic         hdr_has_data_i,
  output logic         hdr_take_o,
  input  logic         dat_valid_i,
  input  logic [W-1:0] dat_i,
  input  logic         dat_last_i,
  output logic         dat_take_o,
  output logic         cpl_hdr_valid_o,
  input  logic         cpl_hdr_take_i,
  output logic         cpl_dat_valid_o,
  input  logic         cpl_dat_take_i,
  output logic         posted_hdr_valid_o,
  input  logic         posted_hdr_take_i,
  output logic         posted_dat_valid_o,
  input  logic         posted_dat_take_i,
  output logic         np_valid_o,
  output logic [127:0] np_hdr_o,
  output logic [31:0]  np_data_o,
  input  logic         np_take_i
);
  localparam logic [1:0] COMPLETION = 2'd0, POSTED = 2'd1, NON_POSTED = 2'd2;

  // By Fmt and Type, the first byte of a TLP. What the card cannot know it takes for posted, and drops.
  function automatic logic [1:0] kind(input logic prefix, input logic with_data, input logic [4:0] t);
    if (prefix) kind = POSTED;
    else if (t[4:1] == virtio_pkg::TLP_TYPE_COMPLETION[4:1]) kind = COMPLETION;
    else if (t[4:3] == virtio_pkg::TLP_TYPE_MESSAGE) kind = POSTED;
    else if (t == virtio_pkg::TLP_TYPE_MEMORY && with_data) kind = POSTED;
    else kind = NON_POSTED;
  endfunction

  logic [1:0] now, data_q;
  assign now = kind(hdr_i[7], hdr_i[6], hdr_i[4:0]);

  logic np_hdr_take, np_push, np_open_q;
  logic [127:0] np_hdr_q;
  logic [31:0] np_data_q;
  assign cpl_hdr_valid_o = hdr_valid_i && now == COMPLETION;
  assign posted_hdr_valid_o = hdr_valid_i && now == POSTED;
  assign np_hdr_take = hdr_valid_i && now == NON_POSTED;
  assign hdr_take_o = cpl_hdr_take_i || posted_hdr_take_i || np_hdr_take;
  assign cpl_dat_valid_o = dat_valid_i && data_q == COMPLETION;
  assign posted_dat_valid_o = dat_valid_i && data_q == POSTED;
  assign dat_take_o = cpl_dat_take_i || posted_dat_take_i || (dat_valid_i && data_q == NON_POSTED);

  assign np_push = (np_hdr_take && !hdr_has_data_i)
                   || (dat_valid_i && data_q == NON_POSTED && dat_last_i);
  logic [2:0] count, promised_q;
  sync_fifo #(.WIDTH(160), .DEPTH(4)) u_np (
    .clk_i, .rst_ni, .push_i(np_push),
    .data_i(np_hdr_take ? {32'd0, hdr_i} : {np_open_q ? dat_i[31:0] : np_data_q, np_hdr_q}),
    .pop_i(np_take_i), .valid_o(np_valid_o), .data_o({np_data_o, np_hdr_o}), .count_o(count)
  );

  assign np_ok_o = promised_q != 3'd4;
  logic began;
  assign began = sop_i && kind(first_byte_i[7], first_byte_i[6], first_byte_i[4:0]) == NON_POSTED;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      promised_q <= '0;
      data_q <= POSTED;
    end else begin
      if (began && !np_take_i) promised_q <= promised_q + 3'd1;
      if (!began && np_take_i) promised_q <= promised_q - 3'd1;
      if (hdr_take_o) data_q <= now;
    end
    if (np_hdr_take) begin
      np_hdr_q <= hdr_i;
      np_open_q <= 1'b1;
    end else if (dat_valid_i && data_q == NON_POSTED) begin
      if (np_open_q) np_data_q <= dat_i[31:0];
      np_open_q <= 1'b0;
    end
  end

  logic unused;
  assign unused = &{1'b0, count, dat_i, first_byte_i};
endmodule
