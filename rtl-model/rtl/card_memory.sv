// Memory on the card, one read and one write a cycle. The host comes before the card's own engines.
module card_memory #(
  parameter int W = 256,
  parameter longint BYTES = 1048576
) (
  input  logic                     clk_i,
  input  logic                     host_we_i,
  input  logic [$clog2(BYTES)-1:0] host_waddr_i,
  input  logic [W-1:0]             host_wdata_i,
  input  logic [W/8-1:0]           host_wbe_i,
  input  logic                     host_re_i,
  output logic                     host_rgnt_o,
  input  logic [$clog2(BYTES)-1:0] host_raddr_i,
  input  logic                     dma_we_i,
  output logic                     dma_wgnt_o,
  input  logic [$clog2(BYTES)-1:0] dma_waddr_i,
  input  logic [W-1:0]             dma_wdata_i,
  input  logic [W/8-1:0]           dma_wbe_i,
  input  logic                     dma_re_i,
  output logic                     dma_rgnt_o,
  input  logic [$clog2(BYTES)-1:0] dma_raddr_i,
  output logic [W-1:0]             rdata_o  // a cycle after the grant
);
  assign host_rgnt_o = host_re_i;
  assign dma_rgnt_o = dma_re_i && !host_re_i;
  assign dma_wgnt_o = dma_we_i && !host_we_i;

  byte_ram #(.W(W), .BYTES(int'(BYTES)), .ZERO(1'b1)) u_ram (
    .clk_i,
    .we_i(host_we_i || dma_we_i),
    .waddr_i(host_we_i ? host_waddr_i : dma_waddr_i),
    .wdata_i(host_we_i ? host_wdata_i : dma_wdata_i),
    .wbe_i(host_we_i ? host_wbe_i : dma_wbe_i),
    .re_i(host_re_i || dma_re_i),
    .raddr_i(host_re_i ? host_raddr_i : dma_raddr_i),
    .rdata_o
  );
endmodule
