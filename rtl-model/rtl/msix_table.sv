// MSI-X: the table and the pending bits of BAR1. A cause makes its vector pending; a pending vector that is not
// masked becomes a message.
module msix_table
#(
  parameter int VECTORS = 8,  // 1 to 32
  parameter int CAUSES = 2
) (
  input  logic                 clk_i,
  input  logic                 rst_ni,
  input  logic [11:0]          raddr_i,
  output logic [31:0]          rdata_o,
  input  logic                 we_i,
  input  logic [11:0]          waddr_i,
  input  logic [3:0]           wbe_i,
  input  logic [31:0]          wdata_i,
  input  logic                 enable_i,
  input  logic                 mask_i,
  input  logic                 forget_i,   // the device is reset
  input  logic [CAUSES-1:0]    raise_i,    // one cycle each
  input  logic [16*CAUSES-1:0] vector_i,
  output logic                 message_valid_o,
  input  logic                 message_ready_i,
  output logic [63:0]          message_address_o,
  output logic [31:0]          message_data_o
);
  localparam int V = (VECTORS > 1) ? $clog2(VECTORS) : 1;

  logic [31:0] low_q[VECTORS];
  logic [31:0] high_q[VECTORS];
  logic [31:0] data_q[VECTORS];
  logic [VECTORS-1:0] masked_q, pending_q;

  logic [V-1:0] rv, wv;
  assign rv = V'(raddr_i[11:4]);
  assign wv = V'(waddr_i[11:4]);
  always_comb begin
    if (raddr_i[11:4] >= 8'(VECTORS)) begin
      rdata_o = ({20'd0, raddr_i} == virtio_pkg::LAYOUT_MSIX_PENDING) ? 32'(pending_q) : 32'd0;
    end else begin
      case (raddr_i[3:2])
        2'd0:    rdata_o = low_q[rv];
        2'd1:    rdata_o = high_q[rv];
        2'd2:    rdata_o = data_q[rv];
        default: rdata_o = {31'd0, masked_q[rv]};
      endcase
    end
  end

  logic [31:0] old;
  always_comb begin
    case (waddr_i[3:2])
      2'd0:    old = low_q[wv];
      2'd1:    old = high_q[wv];
      2'd2:    old = data_q[wv];
      default: old = {31'd0, masked_q[wv]};
    endcase
  end

  logic [31:0] bits, new_value;
  assign bits = {{8{wbe_i[3]}}, {8{wbe_i[2]}}, {8{wbe_i[1]}}, {8{wbe_i[0]}}};
  assign new_value = (old & ~bits) | (wdata_i & bits);

  // The lowest vector that may be sent.
  logic [VECTORS-1:0] due;
  logic [V-1:0] first;
`ifdef BUG_MASK_IGNORED
  assign due = pending_q;
`else
  assign due = (enable_i && !mask_i) ? pending_q & ~masked_q : '0;
`endif
  always_comb begin
    first = '0;
    for (int v = VECTORS - 1; v >= 0; v--) if (due[v]) first = V'(v);
  end
  assign message_valid_o = due != '0;
  assign message_address_o = {high_q[first], low_q[first]};
  assign message_data_o = data_q[first];

  logic [VECTORS-1:0] raised;
  always_comb begin
    raised = '0;
    for (int c = 0; c < CAUSES; c++)
      for (int v = 0; v < VECTORS; v++)
        if (enable_i && raise_i[c] && vector_i[16*c+:16] == 16'(v)) raised[v] = 1'b1;
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      masked_q <= '1;
      for (int v = 0; v < VECTORS; v++) begin
        low_q[v] <= '0;
        high_q[v] <= '0;
        data_q[v] <= '0;
      end
    end else if (we_i && waddr_i[11:4] < 8'(VECTORS)) begin
      case (waddr_i[3:2])
        2'd0:    low_q[wv] <= {new_value[31:2], 2'b00};
        2'd1:    high_q[wv] <= new_value;
        2'd2:    data_q[wv] <= new_value;
        default: masked_q[wv] <= new_value[0];
      endcase
    end
    if (!rst_ni || forget_i) begin
      pending_q <= '0;
    end else begin
      pending_q <= (pending_q & ~((message_valid_o && message_ready_i) ? VECTORS'(1) << first : '0))
                   | raised;
    end
  end

  logic unused;
  assign unused = &{1'b0, waddr_i[1:0]};
endmodule
