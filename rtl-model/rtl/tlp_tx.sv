// Puts TLPs together and sends them, one at a time: answers first, as a CPU waits for them; then reads, since
// much waits for them; then writes. What has no credit lets others pass.
module tlp_tx #(
  parameter int W = 256
) (
  input  logic           clk_i,
  input  logic           rst_ni,
  output logic           tx_valid_o,
  input  logic           tx_ready_i,
  output logic           tx_sop_o,
  output logic           tx_eop_o,
  output logic [W-1:0]   tx_data_o,
  output logic [W/8-1:0] tx_keep_o,
  // Credits left: headers and data, by class.
  input  logic [7:0]     credit_ph_i,
  input  logic [11:0]    credit_pd_i,
  input  logic [7:0]     credit_nph_i,
  input  logic [7:0]     credit_cplh_i,
  input  logic [11:0]    credit_cpld_i,
  // Three sources: 0 answers, 1 reads, 2 writes. Data come with their first beat beside the header.
  input  logic [2:0]     valid_i,
  input  logic [383:0]   hdr_i,
  input  logic [32:0]    dwords_i,   // of data; 0 for none
  input  logic [3*W-1:0] data_i,
  input  logic [2:0]     dvalid_i,   // the beat in data_i is there
  output logic [2:0]     take_o,     // header taken, with the first beat
  output logic [2:0]     dtake_o     // a later beat taken
);
  localparam int BW = W / 32;
  localparam int CAP = W + 32 * ((BW > 4) ? BW : 4);
  localparam int N = $clog2(BW + 1) + 2;
  localparam logic [N-1:0] BEAT = N'(BW);

  logic [CAP-1:0] buf_q;
  logic [N-1:0] n_q;
  logic sop_q, busy_q, whole_q;  // whole: all of the TLP is in the buffer
  logic [1:0] source_q;
  logic [10:0] left_q;           // doublewords of data that are not in the buffer
  logic [8:0] used_data_q;       // credits of the TLP on its way

  logic out, finish, may_begin;
  assign tx_valid_o = busy_q && (n_q >= BEAT || whole_q);
  assign tx_sop_o = sop_q;
  assign tx_eop_o = whole_q && n_q <= BEAT;
  assign tx_data_o = buf_q[W-1:0];
  always_comb begin
    for (int i = 0; i < W / 8; i++) tx_keep_o[i] = N'(i / 4) < n_q;
  end
  assign out = tx_valid_o && tx_ready_i;
  assign finish = out && tx_eop_o;
  assign may_begin = !busy_q || finish;

  // The credits shown do not know yet of the TLP whose end leaves in this cycle.
  function automatic logic enough(input logic [7:0] heads, input logic [11:0] data,
                                  input logic [10:0] dwords, input logic mine, input logic [8:0] gone);
    logic [11:0] wanted;
    wanted = 12'((dwords + 11'd3) >> 2) + (mine ? {3'd0, gone} : 12'd0);
`ifdef BUG_CREDITS_IGNORED
    enough = 1'b1 | (|heads) | (|data) | (|wanted);
`else
    enough = heads > {7'd0, mine} && data >= wanted;
`endif
  endfunction

  logic [2:0] fits, pick;
  assign fits[0] = enough(credit_cplh_i, credit_cpld_i, dwords_i[10:0], busy_q && source_q == 2'd0,
                          used_data_q);
  assign fits[1] = enough(credit_nph_i, 12'hfff, 11'd0, busy_q && source_q == 2'd1, 9'd0);
  assign fits[2] = enough(credit_ph_i, credit_pd_i, dwords_i[32:22], busy_q && source_q == 2'd2,
                          used_data_q);
  logic [2:0] able;
  assign able[0] = valid_i[0] && fits[0] && (dvalid_i[0] || dwords_i[10:0] == '0);
  assign able[1] = valid_i[1] && fits[1] && (dvalid_i[1] || dwords_i[21:11] == '0);
  assign able[2] = valid_i[2] && fits[2] && (dvalid_i[2] || dwords_i[32:22] == '0);
  assign pick = !may_begin ? 3'b000 : able[0] ? 3'b001 : able[1] ? 3'b010 : able[2] ? 3'b100 : 3'b000;
  assign take_o = pick;

  logic [1:0] chosen;
  assign chosen = pick[0] ? 2'd0 : pick[1] ? 2'd1 : pick[2] ? 2'd2 : source_q;

  logic [127:0] hdr;
  logic [W-1:0] data;
  logic [10:0] dwords;
  logic dvalid;
  always_comb begin
    case (chosen)
      2'd0: begin
        hdr = hdr_i[127:0];
        data = data_i[W-1:0];
        dwords = dwords_i[10:0];
        dvalid = dvalid_i[0];
      end
      2'd1: begin
        hdr = hdr_i[255:128];
        data = data_i[2*W-1:W];
        dwords = dwords_i[21:11];
        dvalid = dvalid_i[1];
      end
      default: begin
        hdr = hdr_i[383:256];
        data = data_i[3*W-1:2*W];
        dwords = dwords_i[32:22];
        dvalid = dvalid_i[2];
      end
    endcase
  end

  // Beats behind the first go in as soon as there is room.
  logic [N-1:0] gone, base, part;
  logic [10:0] waiting;
  logic begins, more;
  assign begins = pick != 3'b000;
  assign gone = !out ? '0 : (n_q < BEAT) ? n_q : BEAT;
  assign base = n_q - gone;
  assign waiting = begins ? dwords : left_q;
  assign part = (waiting < 11'(BW)) ? N'(waiting) : BEAT;
  assign more = busy_q && left_q != '0 && dvalid && base <= BEAT && !begins;
  always_comb begin
    dtake_o = 3'b000;
    if (more) dtake_o[source_q] = 1'b1;
  end

  logic [N-1:0] hdr_dw;
  logic [CAP-1:0] hdr_wide, data_wide;
  assign hdr_dw = hdr[5] ? N'(4) : N'(3);
  assign hdr_wide = hdr[5] ? CAP'(hdr) : CAP'(hdr[95:0]);
  // Lanes behind the end stay zero.
  logic [W-1:0] clean;
  always_comb begin
    for (int i = 0; i < BW; i++) clean[32*i+:32] = (N'(i) < part) ? data[32*i+:32] : 32'd0;
  end
  assign data_wide = CAP'(clean);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      n_q <= '0;
      busy_q <= 1'b0;
      whole_q <= 1'b0;
      sop_q <= 1'b0;
      source_q <= '0;
      left_q <= '0;
      used_data_q <= '0;
    end else begin
      if (out) sop_q <= 1'b0;
      if (begins) begin
        busy_q <= 1'b1;
        sop_q <= 1'b1;
        source_q <= chosen;
        n_q <= hdr_dw + part;
        left_q <= dwords - 11'(part);
        whole_q <= dwords == 11'(part);
        used_data_q <= 9'((dwords + 11'd3) >> 2);
      end else begin
        if (finish) busy_q <= 1'b0;
        n_q <= base + (more ? part : '0);
        if (more) begin
          left_q <= left_q - 11'(part);
          whole_q <= left_q == 11'(part);
        end
      end
    end
    if (begins) buf_q <= hdr_wide | (data_wide << {hdr_dw, 5'd0});
    else if (out || more) buf_q <= (buf_q >> {gone, 5'd0}) | (more ? data_wide << {base, 5'd0} : '0);
  end
endmodule
