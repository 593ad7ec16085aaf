// The virtio registers of BAR0 that every device has: common configuration, ISR status, and the negotiation
// they carry. One doubleword at a time, with byte enables.
module common_config
#(
  parameter int NUM_QUEUES = 1,
  parameter int QUEUE_SIZE_MAX = 256,
  parameter int MSIX_VECTORS = 8,
  parameter logic [63:0] OFFERED = virtio_pkg::FEATURES_VERSION_1
) (
  input  logic                     clk_i,
  input  logic                     rst_ni,
  input  logic [11:0]              raddr_i,
  output logic [31:0]              rdata_o,
  input  logic                     we_i,
  input  logic [11:0]              waddr_i,
  input  logic [3:0]               wbe_i,
  input  logic [31:0]              wdata_i,
  output logic [7:0]               isr_o,
  input  logic                     isr_take_i,       // the ISR was read
  input  logic                     isr_queue_i,      // a cause to note
  input  logic                     isr_config_i,
  input  logic                     needs_reset_i,    // a ring cannot go on
  output logic                     config_changed_o, // the driver is to be told
  input  logic                     function_reset_i, // not by the driver: the status is 0 at once
  output logic                     reset_o,          // one cycle: everything under way ends
  output logic                     resetting_o,
  input  logic                     quiet_i,          // nothing is under way any more
  output logic                     running_o,
  output logic                     event_idx_o,
  output logic                     indirect_o,
  output logic [15:0]              config_vector_o,
  output logic [16*NUM_QUEUES-1:0] queue_vector_o,
  output logic [16*NUM_QUEUES-1:0] queue_size_o,
  output logic [NUM_QUEUES-1:0]    queue_enable_o,
  output logic [64*NUM_QUEUES-1:0] queue_desc_o,
  output logic [64*NUM_QUEUES-1:0] queue_driver_o,
  output logic [64*NUM_QUEUES-1:0] queue_device_o
);
  logic [31:0] device_select_q, driver_select_q;
  logic [63:0] accepted_q;
  logic [15:0] config_vector_q, queue_select_q;
  logic [7:0] status_q, isr_q;
  logic resetting_q;
  logic [15:0] size_q[NUM_QUEUES];
  logic [15:0] vector_q[NUM_QUEUES];
  logic enable_q[NUM_QUEUES];
  logic [63:0] desc_q[NUM_QUEUES];
  logic [63:0] driver_q[NUM_QUEUES];
  logic [63:0] device_q[NUM_QUEUES];

  logic here;
  logic [0:0] sel;
  assign here = queue_select_q < 16'(NUM_QUEUES);
  assign sel = (NUM_QUEUES > 1) ? queue_select_q[0] : 1'b0;

  // Reading. Also the old value of a register that is written in part.
  function automatic logic [31:0] half(input logic [63:0] bits, input logic [31:0] select);
    half = (select == 32'd0) ? bits[31:0] : (select == 32'd1) ? bits[63:32] : 32'd0;
  endfunction

  logic [31:0] shown[16];
  assign shown[0] = device_select_q;
  assign shown[1] = half(OFFERED, device_select_q);
  assign shown[2] = driver_select_q;
  assign shown[3] = half(accepted_q, driver_select_q);
  assign shown[4] = {16'(NUM_QUEUES), config_vector_q};
  assign shown[5] = {queue_select_q, 8'd0, status_q};
  assign shown[6] = here ? {vector_q[sel], size_q[sel]} : {virtio_pkg::VIRTIO_PCI_NO_VECTOR, 16'd0};
  assign shown[7] = here ? {queue_select_q, 15'd0, enable_q[sel]} : 32'd0;
  assign shown[8] = here ? desc_q[sel][31:0] : 32'd0;
  assign shown[9] = here ? desc_q[sel][63:32] : 32'd0;
  assign shown[10] = here ? driver_q[sel][31:0] : 32'd0;
  assign shown[11] = here ? driver_q[sel][63:32] : 32'd0;
  assign shown[12] = here ? device_q[sel][31:0] : 32'd0;
  assign shown[13] = here ? device_q[sel][63:32] : 32'd0;
  // queue_notif_config_data, queue_reset and the admin queues belong to features that are not offered.
  assign shown[14] = 32'd0;
  assign shown[15] = 32'd0;
  assign rdata_o = (raddr_i[11:6] == 6'd0) ? shown[raddr_i[5:2]] : 32'd0;

  logic [31:0] bits, new_value;
  assign bits = {{8{wbe_i[3]}}, {8{wbe_i[2]}}, {8{wbe_i[1]}}, {8{wbe_i[0]}}};
  assign new_value = (shown[waddr_i[5:2]] & ~bits) | (wdata_i & bits);

  // A vector that the card does not have reads back as none (PCI-MSIX-DEV-09).
  function automatic logic [15:0] vector(input logic [15:0] asked);
    vector = (asked < 16'(MSIX_VECTORS)) ? asked : virtio_pkg::VIRTIO_PCI_NO_VECTOR;
  endfunction

  // FEAT-DEV-03: what was accepted is offered, and VERSION_1 is among it.
  logic workable;
`ifdef BUG_FEATURES_UNCHECKED
  assign workable = 1'b1;
`else
  assign workable = (accepted_q & ~OFFERED) == 64'd0
                    && (accepted_q & virtio_pkg::FEATURES_VERSION_1 & OFFERED) == (virtio_pkg::FEATURES_VERSION_1 & OFFERED);
`endif

  logic status_we;
  logic [7:0] set_bits;
  assign status_we = we_i && waddr_i == virtio_pkg::COMMON_DEVICE_STATUS && wbe_i[0];
  always_comb begin
    set_bits = wdata_i[7:0] & ~virtio_pkg::VIRTIO_PCI_STATUS_DEVICE_NEEDS_RESET & ~virtio_pkg::VIRTIO_PCI_STATUS_SUSPEND;
    if (!workable) set_bits = set_bits & ~virtio_pkg::VIRTIO_PCI_STATUS_FEATURES_OK;
    if (((status_q | set_bits) & virtio_pkg::VIRTIO_PCI_STATUS_FEATURES_OK) == 8'd0)
      set_bits = set_bits & ~virtio_pkg::VIRTIO_PCI_STATUS_DRIVER_OK;
  end

  assign reset_o = function_reset_i || (status_we && wdata_i[7:0] == 8'd0);
  assign resetting_o = resetting_q;
  assign running_o = (status_q & virtio_pkg::VIRTIO_PCI_STATUS_DRIVER_OK) != 8'd0 && !resetting_q;
  assign config_changed_o = needs_reset_i && running_o
                            && (status_q & virtio_pkg::VIRTIO_PCI_STATUS_DEVICE_NEEDS_RESET) == 8'd0;
  assign isr_o = isr_q;
  assign event_idx_o = (accepted_q & virtio_pkg::FEATURES_EVENT_IDX) != 64'd0;
  assign indirect_o = (accepted_q & virtio_pkg::FEATURES_INDIRECT_DESC) != 64'd0;
  assign config_vector_o = config_vector_q;
  for (genvar q = 0; q < NUM_QUEUES; q++) begin : g_queue
    assign queue_vector_o[16*q+:16] = vector_q[q];
    assign queue_size_o[16*q+:16] = size_q[q];
    assign queue_enable_o[q] = enable_q[q];
`ifdef BUG_ADDRESS_HIGH_DROPPED
    assign queue_desc_o[64*q+:64] = {32'd0, desc_q[q][31:0]};
`else
    assign queue_desc_o[64*q+:64] = desc_q[q];
`endif
    assign queue_driver_o[64*q+:64] = driver_q[q];
    assign queue_device_o[64*q+:64] = device_q[q];
  end

  logic fits;  // a power of two that is not too large
  assign fits = new_value[15:0] != 16'd0 && (new_value[15:0] & (new_value[15:0] - 16'd1)) == 16'd0
                && new_value[15:0] <= 16'(QUEUE_SIZE_MAX);

  always_ff @(posedge clk_i) begin
    if (!rst_ni || reset_o) begin
      device_select_q <= '0;
      driver_select_q <= '0;
      accepted_q <= '0;
      config_vector_q <= virtio_pkg::VIRTIO_PCI_NO_VECTOR;
      queue_select_q <= '0;
      isr_q <= '0;
      for (int q = 0; q < NUM_QUEUES; q++) begin
        size_q[q] <= 16'(QUEUE_SIZE_MAX);
        vector_q[q] <= virtio_pkg::VIRTIO_PCI_NO_VECTOR;
        enable_q[q] <= 1'b0;
        desc_q[q] <= '0;
        driver_q[q] <= '0;
        device_q[q] <= '0;
      end
      resetting_q <= rst_ni && !function_reset_i;
      if (!rst_ni || function_reset_i) status_q <= '0;
    end else begin
      if (resetting_q && quiet_i) begin
        resetting_q <= 1'b0;
`ifndef BUG_STATUS_NOT_CLEARED
        status_q <= '0;
`endif
      end
      if (status_we && !resetting_q) status_q <= status_q | set_bits;
      if (needs_reset_i && !resetting_q) status_q <= status_q | virtio_pkg::VIRTIO_PCI_STATUS_DEVICE_NEEDS_RESET;
      isr_q <=
`ifdef BUG_ISR_NOT_CLEARED
          isr_q
`else
          (isr_take_i ? 8'd0 : isr_q)
`endif
          | (isr_queue_i ? virtio_pkg::VIRTIO_PCI_ISR_QUEUE : 8'd0) | (isr_config_i ? virtio_pkg::VIRTIO_PCI_ISR_CONFIG : 8'd0);
      if (we_i) begin
        case (waddr_i)
          virtio_pkg::COMMON_DEVICE_FEATURE_SELECT: device_select_q <= new_value;
          virtio_pkg::COMMON_DRIVER_FEATURE_SELECT: driver_select_q <= new_value;
          virtio_pkg::COMMON_DRIVER_FEATURE:
            if ((status_q & virtio_pkg::VIRTIO_PCI_STATUS_FEATURES_OK) == 8'd0) begin
              if (driver_select_q == 32'd0) accepted_q[31:0] <= new_value;
              if (driver_select_q == 32'd1) accepted_q[63:32] <= new_value;
            end
          virtio_pkg::COMMON_CONFIG_MSIX_VECTOR:
            if (wbe_i[1:0] != 2'd0) config_vector_q <= vector(new_value[15:0]);
          virtio_pkg::COMMON_DEVICE_STATUS: if (wbe_i[3:2] != 2'd0) queue_select_q <= new_value[31:16];
          default: ;
        endcase
        if (here && waddr_i == virtio_pkg::COMMON_QUEUE_SIZE && wbe_i[3:2] != 2'd0)
          vector_q[sel] <= vector(new_value[31:16]);
        // A queue that is enabled keeps what it runs on.
        if (here && !enable_q[sel]) begin
          case (waddr_i)
            virtio_pkg::COMMON_QUEUE_SIZE: if (wbe_i[1:0] != 2'd0 && fits) size_q[sel] <= new_value[15:0];
            virtio_pkg::COMMON_QUEUE_ENABLE:
              if (wbe_i[1:0] != 2'd0) enable_q[sel] <= new_value[15:0] == 16'd1;
            virtio_pkg::COMMON_QUEUE_DESC_LOW:    desc_q[sel][31:0] <= new_value;
            virtio_pkg::COMMON_QUEUE_DESC_HIGH:   desc_q[sel][63:32] <= new_value;
            virtio_pkg::COMMON_QUEUE_DRIVER_LOW:  driver_q[sel][31:0] <= new_value;
            virtio_pkg::COMMON_QUEUE_DRIVER_HIGH: driver_q[sel][63:32] <= new_value;
            virtio_pkg::COMMON_QUEUE_DEVICE_LOW:  device_q[sel][31:0] <= new_value;
            virtio_pkg::COMMON_QUEUE_DEVICE_HIGH: device_q[sel][63:32] <= new_value;
            default: ;
          endcase
        end
      end
    end
  end

  logic unused;
  assign unused = &{1'b0, raddr_i[1:0]};
endmodule
