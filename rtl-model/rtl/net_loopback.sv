// A network interface whose cable leads back to itself: a transmitted packet arrives CABLE_CYCLES later and waits
// for a receive buffer. Packets that are too short, too long or too many are lost.
module net_loopback #(
  parameter int W = 256,
  parameter int MTU = 1500,
  parameter int PACKETS = 256,       // on the cable and waiting, a power of two
  parameter int CABLE_CYCLES = 125,
  parameter int OB = 12              // bits of a place in a buffer
) (
  input  logic             clk_i,
  input  logic             rst_ni,   // low in a device reset, too
  // Queue 0 receives, queue 1 transmits.
  input  logic [1:0]       req_valid_i,
  input  logic [63:0]      req_readable_i,
  input  logic [63:0]      req_writable_i,
  input  logic [1:0]       req_failed_i,
  output logic             busy_o,        // a packet is being received
  output logic             tx_re_o,
  input  logic             tx_rgnt_i,
  output logic [OB-1:0]    tx_raddr_o,
  input  logic [W-1:0]     tx_rdata_i,
  output logic             rx_we_o,
  input  logic             rx_wgnt_i,
  output logic [OB-1:0]    rx_waddr_o,
  output logic [W-1:0]     rx_wdata_o,
  output logic [W/8-1:0]   rx_wbe_o,
  output logic [1:0]       done_valid_o,
  input  logic [1:0]       done_ready_i,
  output logic [31:0]      rx_bytes_o
);
  localparam int WB = W / 8;
  localparam int LONGEST = MTU + virtio_pkg::NET_ETHERNET_BYTES + virtio_pkg::NET_HDR_BYTES;
  localparam int PB = $clog2(LONGEST);
  localparam int P = $clog2(PACKETS);
  localparam int ROW = $clog2(WB);
  localparam int RB = PB - ROW;  // bits of a row in a packet
  localparam logic [1:0] IDLE = 2'd0, COPY = 2'd1, DONE = 2'd2;

  logic [W-1:0] cable[PACKETS << RB];
  logic [15:0] bytes_q[PACKETS];
  logic [31:0] due_q[PACKETS];
  logic [P:0] sent_q, received_q;
  logic [31:0] now_q;
  logic [P-1:0] sent_slot, received_slot;
  assign sent_slot = sent_q[P-1:0];
  assign received_slot = received_q[P-1:0];

  // ---- Transmit ----
  logic [1:0] tx_q;
  logic [RB:0] asked_q, written_q;
  logic tx_pending_q, tx_bad;
  logic [31:0] tx_bytes;
  assign tx_bytes = req_readable_i[63:32];
  assign tx_bad = req_failed_i[1] || tx_bytes <= 32'(virtio_pkg::NET_HDR_BYTES)
                  || tx_bytes > 32'(LONGEST) || sent_q - received_q == (P + 1)'(PACKETS);
  assign tx_re_o = tx_q == COPY && {asked_q, {ROW{1'b0}}} < (RB + 1 + ROW)'(tx_bytes);
  assign tx_raddr_o = OB'({asked_q, {ROW{1'b0}}});
  assign done_valid_o[1] = tx_q == DONE;

  // The header says nothing but that the packet lies in one buffer.
  logic [W-1:0] tx_beat;
  always_comb begin
    for (int b = 0; b < WB; b++) begin
      tx_beat[8*b+:8] = tx_rdata_i[8*b+:8];
      if ({written_q, {ROW{1'b0}}} + (RB + 1 + ROW)'(b) < (RB + 1 + ROW)'(virtio_pkg::NET_HDR_BYTES))
        tx_beat[8*b+:8] = ({written_q, {ROW{1'b0}}} + (RB + 1 + ROW)'(b) == (RB + 1 + ROW)'(10)) ? 8'd1
                                                                                                 : 8'd0;
    end
  end

  // ---- Receive ----
  logic [1:0] rx_q;
  logic [RB:0] read_q;
  logic rx_pending_q, rx_here, rx_go, rx_re, rx_fits;
  logic [15:0] rx_bytes;
  logic [W-1:0] cable_q;
  assign rx_bytes = bytes_q[received_slot];
  assign rx_here = sent_q != received_q && $signed(now_q - due_q[received_slot]) >= 0;
  assign rx_fits = {16'd0, rx_bytes} <= req_writable_i[31:0];
  assign rx_go = !rx_pending_q || rx_wgnt_i;
  assign rx_re = rx_q == COPY && rx_go && {read_q, {ROW{1'b0}}} < (RB + 1 + ROW)'(rx_bytes);
  assign rx_we_o = rx_pending_q;
  assign rx_waddr_o = OB'({read_q, {ROW{1'b0}}}) - OB'(WB);
  assign rx_wdata_o = cable_q;
  assign rx_wbe_o = '1;
  assign busy_o = rx_q != IDLE;
  assign done_valid_o[0] = rx_q == DONE;
  assign rx_bytes_o = {16'd0, rx_bytes};

  always_ff @(posedge clk_i) begin
    if (tx_pending_q) cable[{sent_slot, written_q[RB-1:0]}] <= tx_beat;
    if (rx_re) cable_q <= cable[{received_slot, read_q[RB-1:0]}];
    now_q <= rst_ni ? now_q + 32'd1 : '0;
    if (!rst_ni) begin
      tx_q <= IDLE;
      rx_q <= IDLE;
      sent_q <= '0;
      received_q <= '0;
      tx_pending_q <= 1'b0;
      rx_pending_q <= 1'b0;
    end else begin
      tx_pending_q <= tx_re_o && tx_rgnt_i;
      case (tx_q)
        IDLE: begin
          asked_q <= '0;
          written_q <= '0;
          if (req_valid_i[1]) tx_q <= tx_bad ? DONE : COPY;
        end
        COPY: begin
          if (tx_re_o && tx_rgnt_i) asked_q <= asked_q + 1'b1;
          if (tx_pending_q) written_q <= written_q + 1'b1;
          if (!tx_re_o && !tx_pending_q) begin
            tx_q <= DONE;
            sent_q <= sent_q + 1'b1;
            bytes_q[sent_slot] <= tx_bytes[15:0];
            due_q[sent_slot] <= now_q + 32'(CABLE_CYCLES);
          end
        end
        default: if (done_ready_i[1]) tx_q <= IDLE;
      endcase

      rx_pending_q <= rx_re || !rx_go;
      case (rx_q)
        IDLE: begin
          read_q <= '0;
          if (rx_here && req_valid_i[0]) begin
            if (rx_fits) rx_q <= COPY;
            else received_q <= received_q + 1'b1;
          end
        end
        COPY: begin
          if (rx_re) read_q <= read_q + 1'b1;
          if (rx_pending_q && rx_wgnt_i && !rx_re) rx_q <= DONE;
        end
        default: begin
          if (done_ready_i[0]) begin
            rx_q <= IDLE;
            received_q <= received_q + 1'b1;
          end
        end
      endcase
    end
  end

  logic unused;
  assign unused = &{1'b0, req_readable_i[31:0], req_writable_i[63:32], req_failed_i[0]};
endmodule
