// Configuration space, table-driven: for each doubleword what it holds after a reset, which bits software may
// change, and which bits a written one clears. A capability is added by adding its rows. Error reporting has its own
// module, error_registers.
module config_space
#(
  parameter int DEVICE = virtio_pkg::BLK_DEVICE_TYPE,
  parameter int NUM_QUEUES = 1,
  parameter int MSIX_VECTORS = 8,
  parameter longint MEMORY_BYTES = 1048576,
  parameter int LINK_GENERATION = 3,
  parameter int LINK_LANES = 8,
  parameter logic [63:0] SERIAL_NUMBER = virtio_pkg::CARD_SERIAL_NUMBER
) (
  input  logic        clk_i,
  input  logic        rst_ni,
  // One doubleword at a time; reading is combinational.
  input  logic [9:0]  raddr_i,
  output logic [31:0] rdata_o,
  input  logic        we_i,
  input  logic [9:0]  waddr_i,
  input  logic [3:0]  wbe_i,
  input  logic [31:0] wdata_i,
  // What the card shows.
  input  logic        interrupt_i,
  input  logic        transactions_pending_i,
  input  logic [15:0] status_i,        // bits of Status to set
  input  logic [3:0]  device_status_i, // bits of Device Status to set
  input  logic        window_we_i,     // pci_cfg_data takes over what was read
  input  logic [31:0] window_data_i,
  // A reset of the function: asked for by a write, carried out later.
  output logic        reset_asked_o,
  input  logic        reset_i,
  // What software has set.
  output logic        memory_space_o,
  output logic        bus_master_o,
  output logic [63:0] bar0_o,
  output logic [63:0] bar1_o,
  output logic [63:0] bar2_o,
  output logic [12:0] payload_max_o,
  output logic [12:0] read_max_o,
  output logic        extended_tag_o,
  output logic        tag_10_o,
  output logic [4:0]  timeout_o,       // of completions: off, and the range
  output logic [3:0]  report_o,        // which errors are told
  output logic        serr_o,
  output logic        msix_enable_o,
  output logic        msix_mask_o,
  output logic [7:0]  window_bar_o,
  output logic [31:0] window_offset_o,
  output logic [31:0] window_length_o,
  output logic [31:0] window_data_o
);
  localparam int DWORDS = 64;
  localparam logic [15:0] TYPE = 16'(DEVICE);
  localparam logic [23:0] CLASS = (DEVICE == virtio_pkg::NET_DEVICE_TYPE) ? virtio_pkg::NET_CLASS_CODE : virtio_pkg::BLK_CLASS_CODE;
  localparam int DEVICE_BYTES = (DEVICE == virtio_pkg::NET_DEVICE_TYPE) ? virtio_pkg::NET_CONFIG_BYTES : virtio_pkg::BLK_CONFIG_BYTES;
  localparam logic [31:0] LINK = 32'(LINK_GENERATION) | 32'(LINK_LANES) << 4;
  localparam logic [15:0] EQUALISED = (LINK_GENERATION >= 3) ? virtio_pkg::PCI_EXPRESS_LINK_STATUS_2_EQUALISED : 16'd0;
  localparam logic [31:0] SPEEDS = ((32'd1 << LINK_GENERATION) - 32'd1) << 1;
  localparam logic [63:0] MEMORY = 64'(MEMORY_BYTES);
  localparam logic [63:0] MEMORY_MASK = ~(MEMORY - 64'd1);
  localparam logic [31:0] VECTORS = 32'(MSIX_VECTORS) - 32'd1;

  // The first doubleword of a virtio capability, linked to the one behind it.
  function automatic logic [31:0] cap(input logic [15:0] at, input logic [15:0] bytes,
                                      input logic [7:0] kind);
    cap = {kind, bytes[7:0], 8'(at + bytes), virtio_pkg::PCI_CAP_ID_VENDOR};
  endfunction

  // The table: {holds after a reset, may be changed, is cleared by a one}.
  function automatic logic [95:0] row(input logic [15:0] at);
    case (at)
      virtio_pkg::PCI_HEADER_VENDOR_ID:
        row = {virtio_pkg::VIRTIO_PCI_DEVICE_ID_BASE + TYPE, virtio_pkg::VIRTIO_PCI_VENDOR_ID, 64'd0};
      virtio_pkg::PCI_HEADER_COMMAND:
        row = {virtio_pkg::PCI_STATUS_CAPABILITIES, 16'd0,
               16'd0, virtio_pkg::PCI_COMMAND_MEMORY_SPACE | virtio_pkg::PCI_COMMAND_BUS_MASTER | virtio_pkg::PCI_COMMAND_PARITY
                      | virtio_pkg::PCI_COMMAND_SERR | virtio_pkg::PCI_COMMAND_INTX_DISABLE,
               virtio_pkg::PCI_STATUS_ERRORS, 16'd0};
      virtio_pkg::PCI_HEADER_REVISION_ID:     row = {CLASS, 8'd1, 64'd0};
      virtio_pkg::PCI_HEADER_CACHE_LINE_SIZE: row = {32'd0, 32'h0000_00ff, 32'd0};
      virtio_pkg::PCI_HEADER_BAR0:            row = {32'd0, ~(virtio_pkg::LAYOUT_REGISTERS_BYTES - 32'd1), 32'd0};
      virtio_pkg::PCI_HEADER_BAR0 + 16'd4:    row = {32'd0, ~(virtio_pkg::LAYOUT_MSIX_BYTES - 32'd1), 32'd0};
      virtio_pkg::PCI_HEADER_BAR0 + 16'd8:
        row = {virtio_pkg::PCI_BAR_MEMORY_64 | virtio_pkg::PCI_BAR_PREFETCHABLE, MEMORY_MASK[31:0], 32'd0};
      virtio_pkg::PCI_HEADER_BAR0 + 16'd12:   row = {32'd0, MEMORY_MASK[63:32], 32'd0};
      virtio_pkg::PCI_HEADER_SUBSYSTEM_VENDOR_ID: row = {16'h40 + TYPE, virtio_pkg::VIRTIO_PCI_VENDOR_ID, 64'd0};
      virtio_pkg::PCI_HEADER_CAPABILITIES:    row = {16'd0, virtio_pkg::LAYOUT_CAP_EXPRESS, 64'd0};
      virtio_pkg::PCI_HEADER_INTERRUPT_LINE:  row = {32'd0, 32'h0000_00ff, 32'd0};
      // PCI Express: an endpoint, version 2; payload to 4096.
      virtio_pkg::LAYOUT_CAP_EXPRESS: row = {16'h0002, virtio_pkg::LAYOUT_CAP_VENDOR[7:0], virtio_pkg::PCI_CAP_ID_PCI_EXPRESS, 64'd0};
      virtio_pkg::LAYOUT_CAP_EXPRESS + virtio_pkg::PCI_EXPRESS_DEVICE_CAPABILITIES:
        row = {virtio_pkg::PCI_EXPRESS_CAPABLE_FLR | virtio_pkg::PCI_EXPRESS_CAPABLE_ROLE_BASED_ERRORS
               | virtio_pkg::PCI_EXPRESS_CAPABLE_EXTENDED_TAG | 32'd5, 64'd0};
      virtio_pkg::LAYOUT_CAP_EXPRESS + virtio_pkg::PCI_EXPRESS_DEVICE_CONTROL:
        row = {16'd0, virtio_pkg::PCI_EXPRESS_CONTROL_RELAXED_ORDERING | virtio_pkg::PCI_EXPRESS_CONTROL_EXTENDED_TAG
                      | virtio_pkg::PCI_EXPRESS_CONTROL_NO_SNOOP | 16'h2000,
               16'd0, virtio_pkg::PCI_EXPRESS_CONTROL_CORRECTABLE | virtio_pkg::PCI_EXPRESS_CONTROL_NON_FATAL
                      | virtio_pkg::PCI_EXPRESS_CONTROL_FATAL | virtio_pkg::PCI_EXPRESS_CONTROL_UNSUPPORTED
                      | virtio_pkg::PCI_EXPRESS_CONTROL_RELAXED_ORDERING | virtio_pkg::PCI_EXPRESS_CONTROL_PAYLOAD
                      | virtio_pkg::PCI_EXPRESS_CONTROL_EXTENDED_TAG | virtio_pkg::PCI_EXPRESS_CONTROL_NO_SNOOP
                      | virtio_pkg::PCI_EXPRESS_CONTROL_READ_REQUEST,
               virtio_pkg::PCI_EXPRESS_STATUS_CORRECTABLE | virtio_pkg::PCI_EXPRESS_STATUS_NON_FATAL
               | virtio_pkg::PCI_EXPRESS_STATUS_FATAL | virtio_pkg::PCI_EXPRESS_STATUS_UNSUPPORTED, 16'd0};
      virtio_pkg::LAYOUT_CAP_EXPRESS + virtio_pkg::PCI_EXPRESS_LINK_CAPABILITIES:
        row = {LINK | virtio_pkg::PCI_EXPRESS_LINK_CAPABLE_ASPM_OPTIONALITY, 64'd0};
      virtio_pkg::LAYOUT_CAP_EXPRESS + virtio_pkg::PCI_EXPRESS_LINK_CONTROL:
        row = {LINK[15:0] | virtio_pkg::PCI_EXPRESS_LINK_STATUS_SLOT_CLOCK, 16'd0,
               16'd0, virtio_pkg::PCI_EXPRESS_LINK_CONTROL_ENDPOINT, 32'd0};
      virtio_pkg::LAYOUT_CAP_EXPRESS + virtio_pkg::PCI_EXPRESS_DEVICE_CAPABILITIES_2:
        row = {virtio_pkg::PCI_EXPRESS_CAPABLE_TIMEOUT_RANGES | virtio_pkg::PCI_EXPRESS_CAPABLE_TIMEOUT_OFF
               | virtio_pkg::PCI_EXPRESS_CAPABLE_TAG_10_COMPLETER | virtio_pkg::PCI_EXPRESS_CAPABLE_TAG_10_REQUESTER, 64'd0};
      virtio_pkg::LAYOUT_CAP_EXPRESS + virtio_pkg::PCI_EXPRESS_DEVICE_CONTROL_2:
        row = {32'd0, 16'd0, virtio_pkg::PCI_EXPRESS_CONTROL_2_TIMEOUT | virtio_pkg::PCI_EXPRESS_CONTROL_2_TIMEOUT_OFF
                             | virtio_pkg::PCI_EXPRESS_CONTROL_2_TAG_10, 32'd0};
      virtio_pkg::LAYOUT_CAP_EXPRESS + virtio_pkg::PCI_EXPRESS_LINK_CAPABILITIES_2: row = {SPEEDS, 64'd0};
      virtio_pkg::LAYOUT_CAP_EXPRESS + virtio_pkg::PCI_EXPRESS_LINK_CONTROL_2:
        row = {EQUALISED, 16'(LINK_GENERATION), 16'd0, virtio_pkg::PCI_EXPRESS_LINK_CONTROL_2_SPEED, 32'd0};
      virtio_pkg::LAYOUT_CAP_VENDOR:
        row = {cap(virtio_pkg::LAYOUT_CAP_VENDOR, virtio_pkg::VIRTIO_PCI_CAP_BYTES_VENDOR, virtio_pkg::VIRTIO_PCI_CFG_TYPE_VENDOR),
               64'd0};
      virtio_pkg::LAYOUT_CAP_VENDOR + 16'd4: row = {virtio_pkg::CARD_VENDOR_DATA, 64'd0};
      virtio_pkg::LAYOUT_CAP_MSIX:
        row = {VECTORS[15:0], virtio_pkg::LAYOUT_CAP_COMMON[7:0], virtio_pkg::PCI_CAP_ID_MSIX,
               virtio_pkg::PCI_MSIX_CONTROL_ENABLE | virtio_pkg::PCI_MSIX_CONTROL_FUNCTION_MASK, 16'd0, 32'd0};
      virtio_pkg::LAYOUT_CAP_MSIX + virtio_pkg::PCI_MSIX_TABLE: row = {32'd1, 64'd0};
      virtio_pkg::LAYOUT_CAP_MSIX + virtio_pkg::PCI_MSIX_PBA:   row = {virtio_pkg::LAYOUT_MSIX_PENDING | 32'd1, 64'd0};
      // Virtio structures.
      virtio_pkg::LAYOUT_CAP_COMMON:
        row = {cap(virtio_pkg::LAYOUT_CAP_COMMON, virtio_pkg::VIRTIO_PCI_CAP_BYTES, virtio_pkg::VIRTIO_PCI_CFG_TYPE_COMMON), 64'd0};
      virtio_pkg::LAYOUT_CAP_COMMON + virtio_pkg::VIRTIO_PCI_CAP_OFFSET: row = {virtio_pkg::LAYOUT_COMMON, 64'd0};
      virtio_pkg::LAYOUT_CAP_COMMON + virtio_pkg::VIRTIO_PCI_CAP_LENGTH: row = {virtio_pkg::VIRTIO_PCI_COMMON_CFG_BYTES, 64'd0};
      virtio_pkg::LAYOUT_CAP_NOTIFY:
        row = {cap(virtio_pkg::LAYOUT_CAP_NOTIFY, virtio_pkg::VIRTIO_PCI_CAP_BYTES_WITH_DATA, virtio_pkg::VIRTIO_PCI_CFG_TYPE_NOTIFY),
               64'd0};
      virtio_pkg::LAYOUT_CAP_NOTIFY + virtio_pkg::VIRTIO_PCI_CAP_OFFSET: row = {virtio_pkg::LAYOUT_NOTIFY, 64'd0};
      virtio_pkg::LAYOUT_CAP_NOTIFY + virtio_pkg::VIRTIO_PCI_CAP_LENGTH:
        row = {32'(NUM_QUEUES) * virtio_pkg::LAYOUT_NOTIFY_MULTIPLIER, 64'd0};
      virtio_pkg::LAYOUT_CAP_NOTIFY + virtio_pkg::VIRTIO_PCI_CAP_PCI_CFG_DATA: row = {virtio_pkg::LAYOUT_NOTIFY_MULTIPLIER, 64'd0};
      virtio_pkg::LAYOUT_CAP_ISR:
        row = {cap(virtio_pkg::LAYOUT_CAP_ISR, virtio_pkg::VIRTIO_PCI_CAP_BYTES, virtio_pkg::VIRTIO_PCI_CFG_TYPE_ISR), 64'd0};
      virtio_pkg::LAYOUT_CAP_ISR + virtio_pkg::VIRTIO_PCI_CAP_OFFSET: row = {virtio_pkg::LAYOUT_ISR, 64'd0};
      virtio_pkg::LAYOUT_CAP_ISR + virtio_pkg::VIRTIO_PCI_CAP_LENGTH: row = {32'd1, 64'd0};
      virtio_pkg::LAYOUT_CAP_DEVICE:
        row = {cap(virtio_pkg::LAYOUT_CAP_DEVICE, virtio_pkg::VIRTIO_PCI_CAP_BYTES, virtio_pkg::VIRTIO_PCI_CFG_TYPE_DEVICE), 64'd0};
      virtio_pkg::LAYOUT_CAP_DEVICE + virtio_pkg::VIRTIO_PCI_CAP_OFFSET: row = {virtio_pkg::LAYOUT_DEVICE, 64'd0};
      virtio_pkg::LAYOUT_CAP_DEVICE + virtio_pkg::VIRTIO_PCI_CAP_LENGTH: row = {32'(DEVICE_BYTES), 64'd0};
      virtio_pkg::LAYOUT_CAP_WINDOW:
        row = {cap(virtio_pkg::LAYOUT_CAP_WINDOW, virtio_pkg::VIRTIO_PCI_CAP_BYTES_WITH_DATA, virtio_pkg::VIRTIO_PCI_CFG_TYPE_PCI), 64'd0};
      virtio_pkg::LAYOUT_CAP_WINDOW + virtio_pkg::VIRTIO_PCI_CAP_BAR:    row = {32'd0, 32'h0000_00ff, 32'd0};
      virtio_pkg::LAYOUT_CAP_WINDOW + virtio_pkg::VIRTIO_PCI_CAP_OFFSET: row = {32'd0, 32'hffff_ffff, 32'd0};
      virtio_pkg::LAYOUT_CAP_WINDOW + virtio_pkg::VIRTIO_PCI_CAP_LENGTH: row = {32'd0, 32'hffff_ffff, 32'd0};
      virtio_pkg::LAYOUT_CAP_WINDOW + virtio_pkg::VIRTIO_PCI_CAP_PCI_CFG_DATA: row = {32'd0, 32'hffff_ffff, 32'd0};
      virtio_pkg::LAYOUT_CAP_SHARED:
        row = {cap(virtio_pkg::LAYOUT_CAP_SHARED, virtio_pkg::VIRTIO_PCI_CAP_BYTES_64, virtio_pkg::VIRTIO_PCI_CFG_TYPE_SHARED_MEMORY),
               64'd0};
      virtio_pkg::LAYOUT_CAP_SHARED + virtio_pkg::VIRTIO_PCI_CAP_BAR:       row = {32'd2, 64'd0};
      virtio_pkg::LAYOUT_CAP_SHARED + virtio_pkg::VIRTIO_PCI_CAP_LENGTH:    row = {MEMORY[31:0], 64'd0};
      virtio_pkg::LAYOUT_CAP_SHARED + virtio_pkg::VIRTIO_PCI_CAP_LENGTH_HI: row = {MEMORY[63:32], 64'd0};
      virtio_pkg::LAYOUT_CAP_POWER: row = {virtio_pkg::PCI_POWER_VERSION, 8'd0, virtio_pkg::PCI_CAP_ID_POWER_MANAGEMENT, 64'd0};
      virtio_pkg::LAYOUT_CAP_POWER + virtio_pkg::PCI_POWER_CONTROL:
        row = {32'd0, 16'd0, virtio_pkg::PCI_POWER_CONTROL_STATE, 32'd0};
      // Behind the first 256 bytes nothing is writable but what error_registers has.
      virtio_pkg::LAYOUT_CAP_SERIAL: row = {16'h0001, virtio_pkg::PCI_EXTENDED_SERIAL_NUMBER, 64'd0};
      virtio_pkg::LAYOUT_CAP_SERIAL + virtio_pkg::PCI_EXTENDED_SERIAL_NUMBER_VALUE: row = {SERIAL_NUMBER[31:0], 64'd0};
      virtio_pkg::LAYOUT_CAP_SERIAL + virtio_pkg::PCI_EXTENDED_SERIAL_NUMBER_VALUE + 16'd4: row = {SERIAL_NUMBER[63:32], 64'd0};
      default:                  row = 96'd0;
    endcase
  endfunction

  // Bits that a reset of the function leaves: those of the link. PCIe 5.0 section 6.6.2.
  function automatic logic [31:0] kept(input logic [15:0] at);
    case (at)
      virtio_pkg::LAYOUT_CAP_EXPRESS + virtio_pkg::PCI_EXPRESS_DEVICE_CONTROL: kept = {16'd0, virtio_pkg::PCI_EXPRESS_CONTROL_PAYLOAD};
      virtio_pkg::LAYOUT_CAP_EXPRESS + virtio_pkg::PCI_EXPRESS_LINK_CONTROL:
        kept = {16'd0, virtio_pkg::PCI_EXPRESS_LINK_CONTROL_ENDPOINT};
      virtio_pkg::LAYOUT_CAP_EXPRESS + virtio_pkg::PCI_EXPRESS_LINK_CONTROL_2:
        kept = {16'd0, virtio_pkg::PCI_EXPRESS_LINK_CONTROL_2_SPEED};
      default: kept = 32'd0;
    endcase
  endfunction

  logic [31:0] cfg_q[DWORDS];

  logic [95:0] wrow;
  logic [31:0] bits, old;
  assign wrow = row({4'd0, waddr_i, 2'b00});
  assign bits = {{8{wbe_i[3]}}, {8{wbe_i[2]}}, {8{wbe_i[1]}}, {8{wbe_i[0]}}};
  assign old = cfg_q[waddr_i[5:0]];

  localparam logic [5:0] COMMAND_DW = 6'(virtio_pkg::PCI_HEADER_COMMAND >> 2);
  localparam logic [5:0] BAR_DW = 6'(virtio_pkg::PCI_HEADER_BAR0 >> 2);
  localparam logic [5:0] CONTROL_DW = 6'((virtio_pkg::LAYOUT_CAP_EXPRESS + virtio_pkg::PCI_EXPRESS_DEVICE_CONTROL) >> 2);
  localparam logic [5:0] MSIX_DW = 6'(virtio_pkg::LAYOUT_CAP_MSIX >> 2);
  localparam logic [5:0] WINDOW_DW = 6'(virtio_pkg::LAYOUT_CAP_WINDOW >> 2);
  localparam logic [5:0] CONTROL_2_DW = 6'((virtio_pkg::LAYOUT_CAP_EXPRESS + virtio_pkg::PCI_EXPRESS_DEVICE_CONTROL_2) >> 2);
  localparam logic [5:0] POWER_DW = 6'((virtio_pkg::LAYOUT_CAP_POWER + virtio_pkg::PCI_POWER_CONTROL) >> 2);

  // D1 and D2 are not supported: a write of them changes nothing.
  logic here, no_state;
  logic [1:0] state;
  assign here = we_i && waddr_i < 10'(DWORDS);
  assign state = cfg_q[POWER_DW][1:0];
  assign no_state = waddr_i[5:0] == POWER_DW && wdata_i[1:0] != virtio_pkg::PCI_POWER_D0
                    && wdata_i[1:0] != virtio_pkg::PCI_POWER_D3HOT;
  // Function level reset, or the way from D3hot to D0.
  assign reset_asked_o = here && ((waddr_i[5:0] == CONTROL_DW && wbe_i[1]
                                   && (wdata_i[15:0] & virtio_pkg::PCI_EXPRESS_CONTROL_FLR) != '0)
                                  || (waddr_i[5:0] == POWER_DW && wbe_i[0] && state == virtio_pkg::PCI_POWER_D3HOT
                                      && wdata_i[1:0] == virtio_pkg::PCI_POWER_D0));

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      for (int i = 0; i < DWORDS; i++) begin
        cfg_q[i] <= 32'(row(16'(i * 4)) >> 64);
      end
    end else if (reset_i) begin
      for (int i = 0; i < DWORDS; i++) begin
        cfg_q[i] <= (cfg_q[i] & kept(16'(i * 4))) | (32'(row(16'(i * 4)) >> 64) & ~kept(16'(i * 4)));
      end
    end else begin
      if (here && !no_state) begin
        cfg_q[waddr_i[5:0]] <= (old & ~(bits & wrow[63:32]) & ~(bits & wdata_i & wrow[31:0]))
                               | (wdata_i & bits & wrow[63:32]);
      end
      if (window_we_i) cfg_q[WINDOW_DW + 6'd4] <= window_data_i;
      for (int i = 0; i < 16; i++) if (status_i[i]) cfg_q[COMMAND_DW][16+i] <= 1'b1;
      for (int i = 0; i < 4; i++) if (device_status_i[i]) cfg_q[CONTROL_DW][16+i] <= 1'b1;
    end
  end

  logic [31:0] shown;
  always_comb begin
    shown = cfg_q[raddr_i[5:0]];
    if (raddr_i[5:0] == COMMAND_DW) shown[19] = interrupt_i;
    if (raddr_i[5:0] == CONTROL_DW) shown[21] = transactions_pending_i;
    rdata_o = (raddr_i < 10'(DWORDS)) ? shown : 32'(row({4'd0, raddr_i, 2'b00}) >> 64);
  end

  logic awake;
  logic [31:0] command, control, control_2, message;
  assign command = cfg_q[COMMAND_DW];
  assign control = cfg_q[CONTROL_DW];
  assign control_2 = cfg_q[CONTROL_2_DW];
  assign message = cfg_q[MSIX_DW];
  assign awake = state == virtio_pkg::PCI_POWER_D0;
  assign memory_space_o = awake && command[1];
  assign bus_master_o = awake && command[2];
  assign bar0_o = {32'd0, cfg_q[BAR_DW][31:4], 4'd0};
  assign bar1_o = {32'd0, cfg_q[BAR_DW+1][31:4], 4'd0};
  assign bar2_o = {cfg_q[BAR_DW+3], cfg_q[BAR_DW+2][31:4], 4'd0};
`ifdef BUG_PAYLOAD_MAX_IGNORED
  assign payload_max_o = 13'd4096;
`else
  assign payload_max_o = virtio_pkg::size_bytes(control[7:5]);
`endif
`ifdef BUG_READ_MAX_IGNORED
  assign read_max_o = 13'd4096;
`else
  assign read_max_o = virtio_pkg::size_bytes(control[14:12]);
`endif
  assign extended_tag_o = control[8];
  assign report_o = control[3:0];
  assign serr_o = command[8];
  assign tag_10_o = control_2[12];
  assign timeout_o = control_2[4:0];
  assign msix_enable_o = message[31];
  assign msix_mask_o = message[30];
  assign window_bar_o = cfg_q[WINDOW_DW+1][7:0];
  assign window_offset_o = cfg_q[WINDOW_DW+2];
  assign window_length_o = cfg_q[WINDOW_DW+3];
  assign window_data_o = cfg_q[WINDOW_DW+4];

  logic unused;
  assign unused = &{1'b0, command, control, control_2, message, wrow[95:64]};
endmodule
