// Every constant that the modules share. Names follow pcie_sim::spec: its module path and its constant,
// in capitals, joined by underscores (spec::pci::header::BAR0 is PCI_HEADER_BAR0).
package virtio_pkg;

  // ---- TLPs: Fmt and Type, completion status. PCIe 5.0 section 2.2.1, 2.2.9 ----
  localparam logic [4:0] TLP_TYPE_MEMORY     = 5'b0_0000;
  localparam logic [4:0] TLP_TYPE_CONFIG_0   = 5'b0_0100;
  localparam logic [4:0] TLP_TYPE_COMPLETION = 5'b0_1010;
  localparam logic [1:0] TLP_TYPE_MESSAGE    = 2'b10;
  localparam logic [2:0] TLP_TYPE_MESSAGE_TO_ROOT = 3'b000;
  localparam logic [2:0] TLP_STATUS_SUCCESS     = 3'b000;
  localparam logic [2:0] TLP_STATUS_UNSUPPORTED = 3'b001;
  localparam logic [2:0] TLP_STATUS_RETRY       = 3'b010;
  localparam logic [2:0] TLP_STATUS_ABORT       = 3'b100;
  // Where an endpoint may cut its completions. PCIe 5.0 section 2.3.1.1.
  localparam int TLP_COMPLETION_BOUNDARY = 128;

  // ---- Configuration space: spec::pci ----
  localparam logic [15:0] PCI_HEADER_VENDOR_ID           = 16'h00;
  localparam logic [15:0] PCI_HEADER_COMMAND             = 16'h04;
  localparam logic [15:0] PCI_HEADER_REVISION_ID         = 16'h08;
  localparam logic [15:0] PCI_HEADER_CACHE_LINE_SIZE     = 16'h0c;
  localparam logic [15:0] PCI_HEADER_BAR0                = 16'h10;
  localparam logic [15:0] PCI_HEADER_SUBSYSTEM_VENDOR_ID = 16'h2c;
  localparam logic [15:0] PCI_HEADER_CAPABILITIES        = 16'h34;
  localparam logic [15:0] PCI_HEADER_INTERRUPT_LINE      = 16'h3c;
  localparam logic [15:0] PCI_COMMAND_MEMORY_SPACE = 16'h0002;
  localparam logic [15:0] PCI_COMMAND_BUS_MASTER   = 16'h0004;
  localparam logic [15:0] PCI_COMMAND_PARITY       = 16'h0040;
  localparam logic [15:0] PCI_COMMAND_SERR         = 16'h0100;
  localparam logic [15:0] PCI_COMMAND_INTX_DISABLE = 16'h0400;
  localparam logic [15:0] PCI_STATUS_CAPABILITIES  = 16'h0010;
  localparam logic [15:0] PCI_STATUS_RECEIVED_TARGET_ABORT = 16'h1000;
  localparam logic [15:0] PCI_STATUS_RECEIVED_MASTER_ABORT = 16'h2000;
  localparam logic [15:0] PCI_STATUS_SIGNALED_SYSTEM_ERROR = 16'h4000;
  localparam logic [15:0] PCI_STATUS_DETECTED_PARITY       = 16'h8000;
  localparam logic [15:0] PCI_STATUS_ERRORS                = 16'hf900;
  localparam logic [7:0] PCI_CAP_ID_POWER_MANAGEMENT = 8'h01;
  localparam logic [7:0] PCI_CAP_ID_VENDOR           = 8'h09;
  localparam logic [7:0] PCI_CAP_ID_PCI_EXPRESS      = 8'h10;
  localparam logic [7:0] PCI_CAP_ID_MSIX             = 8'h11;
  localparam logic [31:0] PCI_BAR_MEMORY_64    = 32'h4;
  localparam logic [31:0] PCI_BAR_PREFETCHABLE = 32'h8;
  localparam logic [15:0] PCI_EXPRESS_DEVICE_CAPABILITIES   = 16'h04;
  localparam logic [15:0] PCI_EXPRESS_DEVICE_CONTROL        = 16'h08;
  localparam logic [15:0] PCI_EXPRESS_LINK_CAPABILITIES     = 16'h0c;
  localparam logic [15:0] PCI_EXPRESS_LINK_CONTROL          = 16'h10;
  localparam logic [15:0] PCI_EXPRESS_DEVICE_CAPABILITIES_2 = 16'h24;
  localparam logic [15:0] PCI_EXPRESS_DEVICE_CONTROL_2      = 16'h28;
  localparam logic [15:0] PCI_EXPRESS_LINK_CAPABILITIES_2   = 16'h2c;
  localparam logic [15:0] PCI_EXPRESS_LINK_CONTROL_2        = 16'h30;
  // The capability ends before the registers of a slot: there is no more room below 0x100.
  localparam logic [15:0] PCI_EXPRESS_SLOT_CAPABILITIES_2   = 16'h34;
  localparam logic [31:0] PCI_EXPRESS_CAPABLE_EXTENDED_TAG      = 32'h0000_0020;
  localparam logic [31:0] PCI_EXPRESS_CAPABLE_ROLE_BASED_ERRORS = 32'h0000_8000;
  localparam logic [31:0] PCI_EXPRESS_CAPABLE_FLR               = 32'h1000_0000;
  localparam logic [31:0] PCI_EXPRESS_CAPABLE_TIMEOUT_RANGES    = 32'h0000_000f;
  localparam logic [31:0] PCI_EXPRESS_CAPABLE_TIMEOUT_OFF       = 32'h0000_0010;
  localparam logic [31:0] PCI_EXPRESS_CAPABLE_TAG_10_COMPLETER  = 32'h0001_0000;
  localparam logic [31:0] PCI_EXPRESS_CAPABLE_TAG_10_REQUESTER  = 32'h0002_0000;
  localparam logic [15:0] PCI_EXPRESS_CONTROL_CORRECTABLE      = 16'h0001;
  localparam logic [15:0] PCI_EXPRESS_CONTROL_NON_FATAL        = 16'h0002;
  localparam logic [15:0] PCI_EXPRESS_CONTROL_FATAL            = 16'h0004;
  localparam logic [15:0] PCI_EXPRESS_CONTROL_UNSUPPORTED      = 16'h0008;
  localparam logic [15:0] PCI_EXPRESS_CONTROL_RELAXED_ORDERING = 16'h0010;
  localparam logic [15:0] PCI_EXPRESS_CONTROL_PAYLOAD          = 16'h00e0;
  localparam logic [15:0] PCI_EXPRESS_CONTROL_EXTENDED_TAG     = 16'h0100;
  localparam logic [15:0] PCI_EXPRESS_CONTROL_NO_SNOOP         = 16'h0800;
  localparam logic [15:0] PCI_EXPRESS_CONTROL_READ_REQUEST     = 16'h7000;
  localparam logic [15:0] PCI_EXPRESS_CONTROL_FLR              = 16'h8000;
  localparam logic [15:0] PCI_EXPRESS_STATUS_CORRECTABLE = 16'h0001;
  localparam logic [15:0] PCI_EXPRESS_STATUS_NON_FATAL   = 16'h0002;
  localparam logic [15:0] PCI_EXPRESS_STATUS_FATAL       = 16'h0004;
  localparam logic [15:0] PCI_EXPRESS_STATUS_UNSUPPORTED = 16'h0008;
  localparam logic [31:0] PCI_EXPRESS_LINK_CAPABLE_ASPM_OPTIONALITY = 32'h0040_0000;
  localparam logic [15:0] PCI_EXPRESS_LINK_CONTROL_ENDPOINT   = 16'h00c8;
  localparam logic [15:0] PCI_EXPRESS_LINK_STATUS_SLOT_CLOCK  = 16'h1000;
  localparam logic [15:0] PCI_EXPRESS_CONTROL_2_TIMEOUT       = 16'h000f;
  localparam logic [15:0] PCI_EXPRESS_CONTROL_2_TIMEOUT_OFF   = 16'h0010;
  localparam logic [15:0] PCI_EXPRESS_CONTROL_2_TAG_10        = 16'h1000;
  localparam logic [15:0] PCI_EXPRESS_LINK_CONTROL_2_SPEED    = 16'h000f;
  localparam logic [15:0] PCI_EXPRESS_LINK_STATUS_2_EQUALISED = 16'h001e;
  localparam logic [15:0] PCI_POWER_CONTROL = 16'h04;
  localparam logic [15:0] PCI_POWER_VERSION = 16'h0003;
  localparam logic [15:0] PCI_POWER_CONTROL_STATE = 16'h0003;
  localparam logic [1:0] PCI_POWER_D0    = 2'd0;
  localparam logic [1:0] PCI_POWER_D3HOT = 2'd3;
  localparam logic [15:0] PCI_EXTENDED_SERIAL_NUMBER       = 16'h0003;
  localparam logic [15:0] PCI_EXTENDED_SERIAL_NUMBER_VALUE = 16'h04;
  localparam logic [15:0] PCI_MSIX_TABLE = 16'h04;
  localparam logic [15:0] PCI_MSIX_PBA   = 16'h08;
  localparam logic [15:0] PCI_MSIX_BYTES = 16'h0c;
  localparam logic [15:0] PCI_MSIX_CONTROL_FUNCTION_MASK = 16'h4000;
  localparam logic [15:0] PCI_MSIX_CONTROL_ENABLE        = 16'h8000;

  // ---- Advanced Error Reporting: spec::aer ----
  localparam logic [15:0] AER_CAP_ID      = 16'h0001;
  localparam logic [3:0] AER_CAP_VERSION  = 4'd2;
  localparam logic [15:0] AER_UNCORRECTABLE_STATUS   = 16'h04;
  localparam logic [15:0] AER_UNCORRECTABLE_MASK     = 16'h08;
  localparam logic [15:0] AER_UNCORRECTABLE_SEVERITY = 16'h0c;
  localparam logic [15:0] AER_CORRECTABLE_STATUS     = 16'h10;
  localparam logic [15:0] AER_CORRECTABLE_MASK       = 16'h14;
  localparam logic [15:0] AER_CONTROL                = 16'h18;
  localparam logic [15:0] AER_HEADER_LOG             = 16'h1c;
  localparam logic [15:0] AER_BYTES                  = 16'h48;
  localparam logic [31:0] AER_CONTROL_FIRST_ERROR = 32'h0000_001f;
  localparam logic [31:0] AER_ADVISORY_NON_FATAL  = 32'h0000_2000;
  localparam logic [31:0] AER_UNCORRECTABLE       = 32'h001f_f030;
  localparam logic [31:0] AER_CORRECTABLE         = 32'h0000_11c1;
  localparam logic [31:0] AER_SEVERITY_DEFAULT    = 32'h0006_2030;
  // The bits of those errors that the card can find by itself, and the messages.
  localparam logic [4:0] AER_ERROR_POISONED    = 5'd12;
  localparam logic [4:0] AER_ERROR_TIMEOUT     = 5'd14;
  localparam logic [4:0] AER_ERROR_UNEXPECTED  = 5'd16;
  localparam logic [4:0] AER_ERROR_MALFORMED   = 5'd18;
  localparam logic [4:0] AER_ERROR_UNSUPPORTED = 5'd20;
  localparam logic [7:0] AER_SIGNAL_CORRECTABLE = 8'h30;
  localparam logic [7:0] AER_SIGNAL_NON_FATAL   = 8'h31;
  localparam logic [7:0] AER_SIGNAL_FATAL       = 8'h33;

  // ---- Virtio over PCI: spec::virtio_pci ----
  localparam logic [15:0] VIRTIO_PCI_VENDOR_ID      = 16'h1af4;
  localparam logic [15:0] VIRTIO_PCI_DEVICE_ID_BASE = 16'h1040;
  localparam logic [15:0] VIRTIO_PCI_NO_VECTOR      = 16'hffff;
  localparam logic [31:0] VIRTIO_PCI_COMMON_CFG_BYTES = 32'd64;
  localparam logic [7:0] VIRTIO_PCI_CFG_TYPE_COMMON        = 8'd1;
  localparam logic [7:0] VIRTIO_PCI_CFG_TYPE_NOTIFY        = 8'd2;
  localparam logic [7:0] VIRTIO_PCI_CFG_TYPE_ISR           = 8'd3;
  localparam logic [7:0] VIRTIO_PCI_CFG_TYPE_DEVICE        = 8'd4;
  localparam logic [7:0] VIRTIO_PCI_CFG_TYPE_PCI           = 8'd5;
  localparam logic [7:0] VIRTIO_PCI_CFG_TYPE_SHARED_MEMORY = 8'd8;
  localparam logic [7:0] VIRTIO_PCI_CFG_TYPE_VENDOR        = 8'd9;
  localparam logic [15:0] VIRTIO_PCI_CAP_BAR          = 16'h04;
  localparam logic [15:0] VIRTIO_PCI_CAP_OFFSET       = 16'h08;
  localparam logic [15:0] VIRTIO_PCI_CAP_LENGTH       = 16'h0c;
  localparam logic [15:0] VIRTIO_PCI_CAP_PCI_CFG_DATA = 16'h10;
  localparam logic [15:0] VIRTIO_PCI_CAP_LENGTH_HI    = 16'h14;
  localparam logic [15:0] VIRTIO_PCI_CAP_BYTES           = 16'd16;
  localparam logic [15:0] VIRTIO_PCI_CAP_BYTES_WITH_DATA = 16'd20;
  localparam logic [15:0] VIRTIO_PCI_CAP_BYTES_64        = 16'd24;
  localparam logic [15:0] VIRTIO_PCI_CAP_BYTES_VENDOR    = 16'd8;
  localparam logic [7:0] VIRTIO_PCI_STATUS_DRIVER_OK          = 8'd4;
  localparam logic [7:0] VIRTIO_PCI_STATUS_FEATURES_OK        = 8'd8;
  localparam logic [7:0] VIRTIO_PCI_STATUS_SUSPEND            = 8'd16;
  localparam logic [7:0] VIRTIO_PCI_STATUS_DEVICE_NEEDS_RESET = 8'd64;
  localparam logic [7:0] VIRTIO_PCI_ISR_QUEUE  = 8'd1;
  localparam logic [7:0] VIRTIO_PCI_ISR_CONFIG = 8'd2;
  // struct virtio_pci_common_cfg: the doubleword in which a field lies.
  localparam logic [11:0] COMMON_DEVICE_FEATURE_SELECT = 12'h00;
  localparam logic [11:0] COMMON_DRIVER_FEATURE_SELECT = 12'h08;
  localparam logic [11:0] COMMON_DRIVER_FEATURE        = 12'h0c;
  localparam logic [11:0] COMMON_CONFIG_MSIX_VECTOR    = 12'h10;  // num_queues above it
  localparam logic [11:0] COMMON_DEVICE_STATUS         = 12'h14;  // generation, queue_select above it
  localparam logic [11:0] COMMON_QUEUE_SIZE            = 12'h18;  // queue_msix_vector above it
  localparam logic [11:0] COMMON_QUEUE_ENABLE          = 12'h1c;  // queue_notify_off above it
  localparam logic [11:0] COMMON_QUEUE_DESC_LOW        = 12'h20;
  localparam logic [11:0] COMMON_QUEUE_DESC_HIGH       = 12'h24;
  localparam logic [11:0] COMMON_QUEUE_DRIVER_LOW      = 12'h28;
  localparam logic [11:0] COMMON_QUEUE_DRIVER_HIGH     = 12'h2c;
  localparam logic [11:0] COMMON_QUEUE_DEVICE_LOW      = 12'h30;
  localparam logic [11:0] COMMON_QUEUE_DEVICE_HIGH     = 12'h34;

  // ---- Features: spec::features ----
  localparam logic [63:0] FEATURES_INDIRECT_DESC   = 64'h1 << 28;
  localparam logic [63:0] FEATURES_EVENT_IDX       = 64'h1 << 29;
  localparam logic [63:0] FEATURES_VERSION_1       = 64'h1 << 32;
  localparam logic [63:0] FEATURES_ACCESS_PLATFORM = 64'h1 << 33;
  localparam logic [63:0] FEATURES_ORDER_PLATFORM  = 64'h1 << 36;

  // ---- Split virtqueue: spec::virtq ----
  localparam int VIRTQ_DESC_BYTES      = 16;
  localparam int VIRTQ_MAX_SIZE        = 32768;
  localparam logic [15:0] VIRTQ_DESC_F_NEXT     = 16'd1;
  localparam logic [15:0] VIRTQ_DESC_F_WRITE    = 16'd2;
  localparam logic [15:0] VIRTQ_DESC_F_INDIRECT = 16'd4;
  localparam logic [15:0] VIRTQ_AVAIL_F_NO_INTERRUPT = 16'd1;
  localparam logic [63:0] VIRTQ_AVAIL_FLAGS = 64'd0;
  localparam logic [63:0] VIRTQ_AVAIL_IDX   = 64'd2;
  localparam logic [63:0] VIRTQ_AVAIL_RING  = 64'd4;
  localparam logic [63:0] VIRTQ_USED_IDX    = 64'd2;
  localparam logic [63:0] VIRTQ_USED_RING   = 64'd4;

  // ---- Network device: spec::net ----
  localparam int NET_DEVICE_TYPE = 1;
  localparam int NET_RECEIVE_QUEUE = 0;
  localparam logic [63:0] NET_F_MTU    = 64'h1 << 3;
  localparam logic [63:0] NET_F_MAC    = 64'h1 << 5;
  localparam logic [63:0] NET_F_STATUS = 64'h1 << 16;
  localparam int NET_HDR_BYTES = 12;
  localparam int NET_CONFIG_BYTES = 12;
  localparam logic [15:0] NET_STATUS_LINK_UP = 16'd1;
  // An Ethernet header with one VLAN tag.
  localparam int NET_ETHERNET_BYTES = 18;
  localparam logic [23:0] NET_CLASS_CODE = 24'h02_00_00;

  // ---- Block device: spec::blk ----
  localparam int BLK_DEVICE_TYPE = 2;
  localparam int BLK_SECTOR_BYTES = 512;
  localparam logic [63:0] BLK_F_SEG_MAX      = 64'h1 << 2;
  localparam logic [63:0] BLK_F_BLK_SIZE     = 64'h1 << 6;
  localparam logic [63:0] BLK_F_FLUSH        = 64'h1 << 9;
  localparam logic [63:0] BLK_F_DISCARD      = 64'h1 << 13;
  localparam logic [63:0] BLK_F_WRITE_ZEROES = 64'h1 << 14;
  localparam logic [31:0] BLK_T_IN           = 32'd0;
  localparam logic [31:0] BLK_T_OUT          = 32'd1;
  localparam logic [31:0] BLK_T_FLUSH        = 32'd4;
  localparam logic [31:0] BLK_T_GET_ID       = 32'd8;
  localparam logic [31:0] BLK_T_DISCARD      = 32'd11;
  localparam logic [31:0] BLK_T_WRITE_ZEROES = 32'd13;
  localparam int BLK_REQ_HDR_BYTES = 16;
  localparam int BLK_RANGE_BYTES = 16;
  localparam logic [7:0] BLK_S_OK     = 8'd0;
  localparam logic [7:0] BLK_S_IOERR  = 8'd1;
  localparam logic [7:0] BLK_S_UNSUPP = 8'd2;
  localparam int BLK_CONFIG_BYTES = 60;
  localparam logic [31:0] BLK_MAX_RANGE_SECTORS = 32'h0040_0000;
  localparam logic [31:0] BLK_MAX_RANGES = 32'd16;
  localparam logic [23:0] BLK_CLASS_CODE = 24'h01_80_00;
  // "virtio-testbench-blk", byte 0 in bits 7:0.
  localparam logic [159:0] BLK_ID = 160'h6b6c62_2d_68636e6562_74736574_2d_6f6974726976;

  // ---- Where the card keeps its structures: as rtl_model's layout ----
  localparam logic [31:0] LAYOUT_REGISTERS_BYTES  = 32'h4000;
  localparam logic [31:0] LAYOUT_COMMON = 32'h0000;
  localparam logic [31:0] LAYOUT_ISR    = 32'h1000;
  localparam logic [31:0] LAYOUT_DEVICE = 32'h2000;
  localparam logic [31:0] LAYOUT_NOTIFY = 32'h3000;
  localparam logic [31:0] LAYOUT_NOTIFY_MULTIPLIER = 32'd4;
  localparam logic [31:0] LAYOUT_MSIX_BYTES   = 32'h1000;
  localparam logic [31:0] LAYOUT_MSIX_PENDING = 32'h800;
  localparam logic [15:0] LAYOUT_CAP_EXPRESS = 16'h40;
  localparam logic [15:0] LAYOUT_CAP_VENDOR = LAYOUT_CAP_EXPRESS + PCI_EXPRESS_SLOT_CAPABILITIES_2;
  localparam logic [15:0] LAYOUT_CAP_MSIX   = LAYOUT_CAP_VENDOR + VIRTIO_PCI_CAP_BYTES_VENDOR;
  localparam logic [15:0] LAYOUT_CAP_COMMON = LAYOUT_CAP_MSIX + PCI_MSIX_BYTES;
  localparam logic [15:0] LAYOUT_CAP_NOTIFY = LAYOUT_CAP_COMMON + VIRTIO_PCI_CAP_BYTES;
  localparam logic [15:0] LAYOUT_CAP_ISR    = LAYOUT_CAP_NOTIFY + VIRTIO_PCI_CAP_BYTES_WITH_DATA;
  localparam logic [15:0] LAYOUT_CAP_DEVICE = LAYOUT_CAP_ISR + VIRTIO_PCI_CAP_BYTES;
  localparam logic [15:0] LAYOUT_CAP_WINDOW = LAYOUT_CAP_DEVICE + VIRTIO_PCI_CAP_BYTES;
  localparam logic [15:0] LAYOUT_CAP_SHARED = LAYOUT_CAP_WINDOW + VIRTIO_PCI_CAP_BYTES_WITH_DATA;
  localparam logic [15:0] LAYOUT_CAP_POWER  = LAYOUT_CAP_SHARED + VIRTIO_PCI_CAP_BYTES_64;
  localparam logic [15:0] LAYOUT_CAP_AER    = 16'h100;
  localparam logic [15:0] LAYOUT_CAP_SERIAL = LAYOUT_CAP_AER + AER_BYTES;
  // The vendor data capability: whose they are, the layout's version.
  localparam logic [31:0] CARD_VENDOR_DATA = 32'h0001_1b36;
  localparam logic [63:0] CARD_SERIAL_NUMBER = 64'h0200_00ff_fe00_0001;

  // A number as it stands on the wire: its highest byte first, byte 0 of the wire in bits 7:0.
  function automatic logic [31:0] wire_order(input logic [31:0] value);
    wire_order = {value[7:0], value[15:8], value[23:16], value[31:24]};
  endfunction

  // How many of `left` bytes at an address one TLP of at most `most` bytes may carry: not past the page,
  // and the doubleword's bytes before the first one count.
  function automatic logic [12:0] one_tlp(input logic [11:0] at, input logic [31:0] left,
                                          input logic [12:0] most);
    logic [12:0] room;
    room = most - {11'd0, at[1:0]};
`ifndef BUG_PAGE_CROSSED
    if (13'd4096 - {1'b0, at} < room) room = 13'd4096 - {1'b0, at};
`endif
    one_tlp = (left < {19'd0, room}) ? left[12:0] : room;
  endfunction

  // Doublewords that a run of bytes touches.
  function automatic logic [10:0] run_dwords(input logic [1:0] lead, input logic [12:0] len);
    run_dwords = 11'(({12'd0, lead} + {1'b0, len} + 14'd3) >> 2);
  endfunction

  // Last and first byte enables of a run of bytes.
  function automatic logic [7:0] run_enables(input logic [1:0] lead, input logic [12:0] len);
    logic [3:0] first, last;
    logic [1:0] tail;
    tail = lead + len[1:0];
    first = 4'hf << lead;
    last = (tail == 2'd0) ? 4'hf : 4'hf >> (3'd4 - {1'b0, tail});
    run_enables = (run_dwords(lead, len) == 11'd1) ? {4'h0, first & last} : {last, first};
  endfunction

  // The bytes of a payload or read request size code.
  function automatic logic [12:0] size_bytes(input logic [2:0] code);
    size_bytes = (code > 3'd5) ? 13'd4096 : 13'd128 << code;
  endfunction

  // A message code that endpoints take and need not act on: unlock, power, ignored ones, the slot's power limit, what
  // a vendor lets everybody drop. PCIe 5.0 appendix F.
  function automatic logic message_taken(input logic [7:0] code);
    case (code)
      8'h00, 8'h14, 8'h19, 8'h40, 8'h41, 8'h43, 8'h44, 8'h45, 8'h47, 8'h48, 8'h50, 8'h7f: message_taken = 1'b1;
      default: message_taken = 1'b0;
    endcase
  endfunction

  // Header of a memory request, byte n of the wire in bits 8n+7..8n.
  function automatic logic [127:0] memory_header(input logic write, input logic [63:0] address,
                                                 input logic [12:0] len, input logic [15:0] requester,
                                                 input logic [8:0] tag);
    logic long_form;
    logic [7:0] enables;
    logic [9:0] dwords;
    logic [31:0] d0, d1, low;
    long_form = |address[63:32];
    enables = run_enables(address[1:0], len);
`ifdef BUG_BYTE_ENABLES
    if (write) enables[3:0] = 4'hf;
`endif
    dwords = 10'(run_dwords(address[1:0], len));
    // Bit 8 of a tag stands among the attributes.
    d0 = {1'b0, write, long_form, TLP_TYPE_MEMORY, 4'd0, tag[8], 9'd0, dwords};
    d1 = {requester, tag[7:0], enables};
    low = {address[31:2], 2'b00};
    memory_header = {wire_order(low), wire_order(long_form ? address[63:32] : low), wire_order(d1),
                     wire_order(d0)};
  endfunction

endpackage
