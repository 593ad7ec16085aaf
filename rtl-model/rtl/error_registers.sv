// Advanced error reporting: what the card has found wrong, as the registers say it and as messages tell it.
// PCIe 5.0 section 6.2.5. Nothing here is changed by a reset of the function: all of it is sticky.
module error_registers (
  input  logic         clk_i,
  input  logic         rst_ni,
  // Configuration space, one doubleword at a time.
  input  logic [9:0]   addr_i,
  output logic         here_o,           // the doubleword is of this capability
  output logic [31:0]  rdata_o,
  input  logic         we_i,
  input  logic [3:0]   be_i,
  input  logic [31:0]  wdata_i,
  // An error: its bit; whether somebody else hears of it, too; the header of the TLP, if there is one.
  input  logic         error_i,
  input  logic [4:0]   bit_i,
  input  logic         advisory_i,
  input  logic         logged_i,
  input  logic [127:0] header_i,
  // Device Control and Command.
  input  logic [3:0]   report_i,
  input  logic         serr_i,
  input  logic [15:0]  id_i,
  output logic [15:0]  status_o,         // bits of Status and Device Status to set
  output logic [3:0]   device_status_o,
  // Messages to the root complex.
  output logic         message_o,
  output logic [127:0] message_hdr_o,
  input  logic         message_take_i
);
  localparam logic [9:0] FIRST_DW = 10'(virtio_pkg::LAYOUT_CAP_AER >> 2);
  localparam logic [9:0] DWORDS = 10'(virtio_pkg::AER_BYTES >> 2);
  localparam logic [31:0] CORRECTABLE = virtio_pkg::AER_CORRECTABLE | virtio_pkg::AER_ADVISORY_NON_FATAL;

  logic [31:0] status_q, mask_q, severity_q, correctable_q, correctable_mask_q;
  logic [4:0] first_q;
  logic [127:0] log_q;

  // ---- Reading and writing ----
  logic [9:0] dw;
  logic [15:0] at;
  assign dw = addr_i - FIRST_DW;
  assign at = {4'd0, dw, 2'b00};
  assign here_o = addr_i >= FIRST_DW && dw < DWORDS;
  always_comb begin
    case (at)
      16'd0: rdata_o = {12'(virtio_pkg::LAYOUT_CAP_SERIAL), virtio_pkg::AER_CAP_VERSION, virtio_pkg::AER_CAP_ID};
      virtio_pkg::AER_UNCORRECTABLE_STATUS:   rdata_o = status_q;
      virtio_pkg::AER_UNCORRECTABLE_MASK:     rdata_o = mask_q;
      virtio_pkg::AER_UNCORRECTABLE_SEVERITY: rdata_o = severity_q;
      virtio_pkg::AER_CORRECTABLE_STATUS:     rdata_o = correctable_q;
      virtio_pkg::AER_CORRECTABLE_MASK:       rdata_o = correctable_mask_q;
      virtio_pkg::AER_CONTROL:                rdata_o = 32'(first_q) & virtio_pkg::AER_CONTROL_FIRST_ERROR;
      virtio_pkg::AER_HEADER_LOG:             rdata_o = log_q[31:0];
      virtio_pkg::AER_HEADER_LOG + 16'd4:     rdata_o = log_q[63:32];
      virtio_pkg::AER_HEADER_LOG + 16'd8:     rdata_o = log_q[95:64];
      virtio_pkg::AER_HEADER_LOG + 16'd12:    rdata_o = log_q[127:96];
      default:                                rdata_o = 32'd0;
    endcase
  end

  logic [31:0] bits, ones;
  logic write;
  assign bits = {{8{be_i[3]}}, {8{be_i[2]}}, {8{be_i[1]}}, {8{be_i[0]}}};
  assign ones = wdata_i & bits;
  assign write = we_i && here_o;

  // ---- An error ----
  logic fatal, advisory, unsupported, told, recorded, first, wanted;
  logic [31:0] error_bit;
  assign error_bit = 32'd1 << bit_i;
  assign fatal = (severity_q & error_bit) != '0;
  assign advisory = advisory_i && !fatal;
  assign unsupported = bit_i == virtio_pkg::AER_ERROR_UNSUPPORTED;
  // Of an advisory error that is masked nothing is recorded as uncorrectable.
  assign recorded = error_i && !(advisory && (correctable_mask_q & virtio_pkg::AER_ADVISORY_NON_FATAL) != '0);
  assign told = recorded && (advisory || (mask_q & error_bit) == '0);
  // The pointer says something as long as the bit it points to is set.
  assign first = recorded && (mask_q & error_bit) == '0 && !status_q[first_q];
  assign wanted = advisory ? report_i[0] && (!unsupported || report_i[3])
                           : serr_i || ((fatal ? report_i[2] : report_i[1]) && (!unsupported || report_i[3]));

  assign device_status_o = !error_i ? '0
      : (unsupported ? 4'(virtio_pkg::PCI_EXPRESS_STATUS_UNSUPPORTED) : '0)
        | (advisory ? 4'(virtio_pkg::PCI_EXPRESS_STATUS_CORRECTABLE)
                    : fatal ? 4'(virtio_pkg::PCI_EXPRESS_STATUS_FATAL) : 4'(virtio_pkg::PCI_EXPRESS_STATUS_NON_FATAL));
  assign status_o = ((error_i && bit_i == virtio_pkg::AER_ERROR_POISONED) ? virtio_pkg::PCI_STATUS_DETECTED_PARITY : '0)
                    | ((told && !advisory && serr_i) ? virtio_pkg::PCI_STATUS_SIGNALED_SYSTEM_ERROR : '0);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      status_q <= '0;
      mask_q <= '0;
      severity_q <= virtio_pkg::AER_SEVERITY_DEFAULT;
      correctable_q <= '0;
      correctable_mask_q <= virtio_pkg::AER_ADVISORY_NON_FATAL;
      first_q <= '0;
      log_q <= '0;
    end else begin
      status_q <= (status_q & ~((write && at == virtio_pkg::AER_UNCORRECTABLE_STATUS) ? ones : '0))
                  | (recorded ? error_bit : '0);
      correctable_q <= (correctable_q & ~((write && at == virtio_pkg::AER_CORRECTABLE_STATUS) ? ones : '0))
                       | ((error_i && advisory) ? virtio_pkg::AER_ADVISORY_NON_FATAL : '0);
      if (write) begin
        case (at)
          virtio_pkg::AER_UNCORRECTABLE_MASK:
            mask_q <= ((mask_q & ~bits) | ones) & virtio_pkg::AER_UNCORRECTABLE;
          virtio_pkg::AER_UNCORRECTABLE_SEVERITY:
            severity_q <= ((severity_q & ~bits) | ones) & virtio_pkg::AER_UNCORRECTABLE;
          virtio_pkg::AER_CORRECTABLE_MASK:
            correctable_mask_q <= ((correctable_mask_q & ~bits) | ones) & CORRECTABLE;
          default: ;
        endcase
      end
      if (first) begin
        first_q <= bit_i;
        log_q <= '0;
        if (logged_i) begin
          log_q[31:0] <= virtio_pkg::wire_order(header_i[31:0]);
          log_q[63:32] <= virtio_pkg::wire_order(header_i[63:32]);
          log_q[95:64] <= virtio_pkg::wire_order(header_i[95:64]);
          // Of a header of three doublewords the fourth stays zero.
          if (header_i[5]) log_q[127:96] <= virtio_pkg::wire_order(header_i[127:96]);
        end
      end
    end
  end

  // ---- Messages; more than wait already are not told ----
  logic [7:0] code, code_out;
  logic [3:0] count;
  assign code = advisory ? virtio_pkg::AER_SIGNAL_CORRECTABLE
                : fatal ? virtio_pkg::AER_SIGNAL_FATAL : virtio_pkg::AER_SIGNAL_NON_FATAL;
  sync_fifo #(.WIDTH(8), .DEPTH(8)) u_messages (
    .clk_i, .rst_ni, .push_i(told && wanted && !count[3]), .data_i(code), .pop_i(message_take_i),
    .valid_o(message_o), .data_o(code_out), .count_o(count)
  );
  assign message_hdr_o = {64'd0, virtio_pkg::wire_order({id_i, 8'd0, code_out}),
                          virtio_pkg::wire_order({3'b001, virtio_pkg::TLP_TYPE_MESSAGE,
                                                  virtio_pkg::TLP_TYPE_MESSAGE_TO_ROOT, 24'd0})};

  logic unused;
  assign unused = &{1'b0, count};
endmodule
