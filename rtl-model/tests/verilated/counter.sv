// A design of every width of port, for the tests of the binding.
module counter #(
  parameter int STEP = 1
) (
  input  logic         clk,
  input  logic         rst,
  input  logic         enable,
  input  logic         die,
  input  logic [7:0]   in8,
  input  logic [32:0]  in33,
  input  logic [63:0]  in64,
  input  logic [99:0]  in100,
  input  logic [511:0] in512,
  input  logic [3:0]   mode,
  output logic [15:0]  count,
  output logic [7:0]   out8,
  output logic [32:0]  out33,
  output logic [63:0]  out64,
  output logic [99:0]  out100,
  output logic [511:0] out512,
  output logic [3:0]   mode_seen,
  output logic         comb
);
  assign comb = enable ^ in8[0];
  assign mode_seen = mode;
  always_ff @(posedge clk) begin
    if (rst) count <= '0;
    else if (enable) count <= count + 16'(STEP);
    out8 <= ~in8;
    out33 <= ~in33;
    out64 <= ~in64;
    out100 <= ~in100;
    out512 <= ~in512;
    if (die) $fatal(1, "told to");
  end
endmodule
