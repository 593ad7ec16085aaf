// Which BAR holds all of a run of bytes.
module bar_decode #(
  parameter longint MEMORY_BYTES = 1048576
) (
  input  logic        memory_space_i,
  input  logic [63:0] bar0_i,
  input  logic [63:0] bar1_i,
  input  logic [63:0] bar2_i,
  input  logic [63:0] start_i,
  input  logic [63:0] end_i,     // the first byte behind it
  output logic [1:0]  bar_o      // 3 for none
);
  function automatic logic holds(input logic [63:0] base, input logic [63:0] bytes,
                                 input logic [63:0] first, input logic [63:0] behind);
    holds = base != 64'd0 && first >= base && behind - base <= bytes && behind > first;
  endfunction

  always_comb begin
    bar_o = 2'd3;
    if (memory_space_i) begin
      if (holds(bar0_i, {32'd0, virtio_pkg::LAYOUT_REGISTERS_BYTES}, start_i, end_i)) bar_o = 2'd0;
      else if (holds(bar1_i, {32'd0, virtio_pkg::LAYOUT_MSIX_BYTES}, start_i, end_i)) bar_o = 2'd1;
      else if (holds(bar2_i, 64'(MEMORY_BYTES), start_i, end_i)) bar_o = 2'd2;
    end
  end
endmodule
