// Resets of the function, function level or by waking from D3hot: begun once the write that asked is answered;
// then for a time configuration requests are put off. PCIe 5.0 section 6.6.2.
module function_reset #(
  parameter int CYCLES = 250000
) (
  input  logic clk_i,
  input  logic rst_ni,
  input  logic asked_i,
  input  logic answered_i,   // an answer has left
  output logic begin_o,      // one cycle: everything under way ends
  output logic resetting_o   // from then on until it is over
);
  logic asked_q, begin_q;
  logic [31:0] left_q;
  assign begin_o = begin_q;
  assign resetting_o = left_q != '0;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      asked_q <= 1'b0;
      begin_q <= 1'b0;
      left_q <= '0;
    end else begin
      begin_q <= asked_q && answered_i;
      if (asked_i) asked_q <= 1'b1;
      else if (answered_i) asked_q <= 1'b0;
      if (begin_o) left_q <= 32'(CYCLES);
      else if (resetting_o) left_q <= left_q - 32'd1;
    end
  end
endmodule
