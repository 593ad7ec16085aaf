// Memory that writes and reads W bits a cycle at any byte address: two banks, so that a run over the end of
// a word takes one access of each. The byte at the address is in bits 7:0. Addresses wrap.
module byte_ram #(
  parameter int W = 256,
  parameter int BYTES = 4096,  // a power of two, at least two words
  parameter bit ZERO = 1'b0    // begins as zeroes
) (
  input  logic                     clk_i,
  input  logic                     we_i,
  input  logic [$clog2(BYTES)-1:0] waddr_i,
  input  logic [W-1:0]             wdata_i,
  input  logic [W/8-1:0]           wbe_i,
  input  logic                     re_i,
  input  logic [$clog2(BYTES)-1:0] raddr_i,
  output logic [W-1:0]             rdata_o  // of the address of the cycle before
);
  localparam int WB = W / 8;
  localparam int B = $clog2(WB);
  localparam int A = $clog2(BYTES);
  localparam int ROWS = BYTES / (2 * WB);
  localparam int R = (ROWS > 1) ? $clog2(ROWS) : 1;

  logic [W-1:0] even[ROWS];
  logic [W-1:0] odd[ROWS];

  // The row of the even bank is one further when the run begins in the odd one.
  function automatic logic [R-1:0] row(input logic [A-1:0] address, input logic for_even);
    logic [A-1:0] at;
    at = address + ((for_even && address[B]) ? A'(WB) : '0);
    row = R'(at >> (B + 1));
  endfunction

  logic [2*W-1:0] wide;
  logic [2*WB-1:0] enables;
  logic [B-1:0] woff;
  logic wodd;
  // One address for all bytes of a bank: else a synthesiser sees as many write ports.
  logic [R-1:0] even_wrow, odd_wrow;
  assign even_wrow = row(waddr_i, 1'b1);
  assign odd_wrow = row(waddr_i, 1'b0);
  assign woff = waddr_i[B-1:0];
  assign wodd = waddr_i[B];
  assign wide = {{W{1'b0}}, wdata_i} << {woff, 3'b000};
  assign enables = {{WB{1'b0}}, wbe_i} << woff;

  logic [W-1:0] even_data, odd_data;
  logic [WB-1:0] even_be, odd_be;
  assign even_data = wodd ? wide[2*W-1:W] : wide[W-1:0];
  assign odd_data = wodd ? wide[W-1:0] : wide[2*W-1:W];
  assign even_be = wodd ? enables[2*WB-1:WB] : enables[WB-1:0];
  assign odd_be = wodd ? enables[WB-1:0] : enables[2*WB-1:WB];

  always_ff @(posedge clk_i) begin
    if (we_i) begin
      for (int b = 0; b < WB; b++) begin
        if (even_be[b]) even[even_wrow][8*b+:8] <= even_data[8*b+:8];
        if (odd_be[b]) odd[odd_wrow][8*b+:8] <= odd_data[8*b+:8];
      end
    end
  end

  logic [W-1:0] even_q, odd_q;
  logic [B-1:0] roff_q;
  logic rodd_q;
  always_ff @(posedge clk_i) begin
    if (re_i) begin
      even_q <= even[row(raddr_i, 1'b1)];
      odd_q <= odd[row(raddr_i, 1'b0)];
      roff_q <= raddr_i[B-1:0];
      rodd_q <= raddr_i[B];
    end
  end

  logic [2*W-1:0] both;
  assign both = (rodd_q ? {even_q, odd_q} : {odd_q, even_q}) >> {roff_q, 3'b000};
  assign rdata_o = both[W-1:0];

  logic unused;
  assign unused = &{1'b0, both[2*W-1:W]};

`ifndef SYNTHESIS
  // Memories of an FPGA begin so by themselves, and a synthesiser unrolls the loop.
  if (ZERO) begin : g_zero
    initial begin
      for (int i = 0; i < ROWS; i++) begin
        even[i] = '0;
        odd[i] = '0;
      end
    end
  end
`endif
endmodule
