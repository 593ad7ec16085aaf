// A first-in first-out queue in one clock domain; what is at the front can be seen.
module sync_fifo #(
  parameter int WIDTH = 8,
  parameter int DEPTH = 8  // a power of two
) (
  input  logic                   clk_i,
  input  logic                   rst_ni,
  input  logic                   push_i,
  input  logic [WIDTH-1:0]       data_i,
  input  logic                   pop_i,
  output logic                   valid_o,
  output logic [WIDTH-1:0]       data_o,
  output logic [$clog2(DEPTH):0] count_o
);
  localparam int B = $clog2(DEPTH);

  logic [WIDTH-1:0] mem[DEPTH];
  logic [B-1:0] head_q, tail_q;
  logic [B:0] count_q;

  assign valid_o = count_q != '0;
  assign data_o = mem[head_q];
  assign count_o = count_q;

  always_ff @(posedge clk_i) begin
    if (push_i) mem[tail_q] <= data_i;
    if (!rst_ni) begin
      head_q <= '0;
      tail_q <= '0;
      count_q <= '0;
    end else begin
      if (push_i) tail_q <= tail_q + 1'b1;
      if (pop_i) head_q <= head_q + 1'b1;
      if (push_i && !pop_i) count_q <= count_q + 1'b1;
      if (pop_i && !push_i) count_q <= count_q - 1'b1;
    end
  end
endmodule
