// Takes TLPs from the pins apart: the header first, then the data with its first doubleword in bits 31:0.
// A TLP that ends before its length says so is dropped, and so is what follows the data (a digest).
module tlp_rx #(
  parameter int W = 256
) (
  input  logic           clk_i,
  input  logic           rst_ni,
  input  logic           rx_valid_i,
  output logic           rx_ready_o,
  input  logic           rx_sop_i,
  input  logic           rx_eop_i,
  input  logic [W-1:0]   rx_data_i,
  input  logic [W/8-1:0] rx_keep_i,
  output logic           hdr_valid_o,
  output logic [127:0]   hdr_o,
  output logic           hdr_has_data_o,
  input  logic           hdr_take_i,
  output logic           dat_valid_o,
  output logic [W-1:0]   dat_o,
  output logic           dat_last_o,
  input  logic           dat_take_i
);
  localparam int BW = W / 32;  // doublewords of a beat
  localparam int N = $clog2(BW + 1) + 2;
  localparam logic [N-1:0] BEAT = N'(BW);

  logic [2*W-1:0] buf_q;
  logic [N-1:0] n_q;      // doublewords in it
  logic eop_q;            // the last beat is in it
  logic data_q;           // the header is gone
  logic drop_q;
  logic [10:0] left_q;    // doublewords of data to come

  logic [N-1:0] need, part, take;
  logic [10:0] length;
  logic finish, broken, accept;

  assign hdr_o = buf_q[127:0];
  assign need = hdr_o[5] ? N'(4) : N'(3);
  assign hdr_has_data_o = hdr_o[6];
  assign length = {hdr_o[17:16] == 2'd0 && hdr_o[31:24] == 8'd0, hdr_o[17:16], hdr_o[31:24]};
  assign hdr_valid_o = !data_q && !drop_q && n_q >= need;
  assign part = (left_q < 11'(BW)) ? N'(left_q) : BEAT;
  assign dat_o = buf_q[W-1:0];
  assign dat_last_o = left_q <= 11'(BW);
  assign dat_valid_o = data_q && n_q >= part;
  assign broken = eop_q && (data_q ? !dat_valid_o : !hdr_valid_o);
  assign take = (hdr_valid_o && hdr_take_i) ? need : (dat_valid_o && dat_take_i) ? part : '0;
  assign finish = broken || (hdr_valid_o && hdr_take_i && !hdr_has_data_o)
                  || (dat_valid_o && dat_take_i && dat_last_o);
  assign rx_ready_o = drop_q || (eop_q ? finish : n_q - take <= BEAT);
  assign accept = rx_valid_i && rx_ready_o;

  logic [N-1:0] came;
  always_comb begin
    came = '0;
    for (int i = 0; i < BW; i++) came = came + {{N - 1{1'b0}}, rx_keep_i[4*i]};
  end

  // A beat that begins a TLP in the cycle in which the one before ends finds the buffer empty.
  logic fresh;
  logic [N-1:0] base;
  logic [2*W-1:0] kept;
  assign fresh = finish && eop_q;
  assign base = fresh ? '0 : n_q - take;
  assign kept = fresh ? '0 : buf_q >> {take, 5'd0};

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      buf_q <= '0;
      n_q <= '0;
      eop_q <= 1'b0;
      data_q <= 1'b0;
      drop_q <= 1'b0;
      left_q <= '0;
    end else if (drop_q) begin
      n_q <= '0;
      drop_q <= !(accept && rx_eop_i);
    end else begin
      if (hdr_valid_o && hdr_take_i && hdr_has_data_o) begin
        data_q <= 1'b1;
        left_q <= length;
      end else if (dat_valid_o && dat_take_i) begin
        left_q <= left_q - 11'(part);
      end
      if (finish) data_q <= 1'b0;
      if (finish && !eop_q) begin
        n_q <= '0;
        drop_q <= !(accept && rx_eop_i);
      end else begin
        n_q <= base + (accept ? came : '0);
        eop_q <= accept ? rx_eop_i : (eop_q && !finish);
      end
    end
    if (rst_ni && (accept || take != '0)) begin
      buf_q <= kept | (accept ? {{W{1'b0}}, rx_data_i} << {base, 5'd0} : '0);
    end
  end

  logic unused;
  assign unused = &{1'b0, rx_sop_i, rx_keep_i};
endmodule
