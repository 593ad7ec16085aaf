// The card as the target of posted requests: memory writes go to a BAR, doubleword by doubleword to registers
// and beat by beat to memory on the card. Messages need no action. What hits nothing is dropped and told.
module target_write #(
  parameter int W = 256,
  parameter longint MEMORY_BYTES = 1048576
) (
  input  logic           clk_i,
  input  logic           rst_ni,
  // A posted TLP, from tlp_rx.
  input  logic           hdr_valid_i,
  input  logic [127:0]   hdr_i,
  input  logic           hdr_has_data_i,
  output logic           hdr_take_o,
  input  logic           dat_valid_i,
  input  logic [W-1:0]   dat_i,
  input  logic           dat_last_i,
  output logic           dat_take_o,
  input  logic           memory_space_i,
  input  logic [63:0]    bar0_i,
  input  logic [63:0]    bar1_i,
  input  logic [63:0]    bar2_i,
  input  logic [12:0]    payload_max_i,
  // What is wrong with the TLP whose header is taken.
  output logic           error_o,
  output logic [4:0]     error_bit_o,
  // A register write, never held up.
  output logic           reg_we_o,
  output logic           reg_bar_o,    // 0 or 1
  output logic [13:0]    reg_addr_o,
  output logic [3:0]     reg_be_o,
  output logic [31:0]    reg_data_o,
  // A write of memory on the card, never held up.
  output logic           mem_we_o,
  output logic [$clog2(MEMORY_BYTES)-1:0] mem_addr_o,
  output logic [W-1:0]   mem_data_o,
  output logic [W/8-1:0] mem_be_o
);
  localparam int BW = W / 32;
  localparam int M = $clog2(MEMORY_BYTES);
  localparam logic [1:0] IDLE = 2'd0, REGISTERS = 2'd1, MEMORY = 2'd2, DROP = 2'd3;

  logic [1:0] state_q;
  logic bar_q, first_q;
  logic [63:0] offset_q;
  logic [10:0] left_q;
  logic [7:0] be_q;
  logic [$clog2(BW)-1:0] lane_q;

  // The header.
  logic [63:0] address, end_at;
  logic [10:0] length;
  logic is_write;
  assign is_write = hdr_i[7:6] == 2'b01 && hdr_i[4:0] == virtio_pkg::TLP_TYPE_MEMORY;
  assign length = {hdr_i[17:16] == 2'd0 && hdr_i[31:24] == 8'd0, hdr_i[17:16], hdr_i[31:24]};
  assign address = hdr_i[5] ? {virtio_pkg::wire_order(hdr_i[95:64]), virtio_pkg::wire_order(hdr_i[127:96])}
                            : {32'd0, virtio_pkg::wire_order(hdr_i[95:64])};
  assign end_at = address + {51'd0, length, 2'b00};

  logic [1:0] hit;  // 3 for none
  bar_decode #(.MEMORY_BYTES(MEMORY_BYTES)) u_decode (
    .memory_space_i, .bar0_i, .bar1_i, .bar2_i, .start_i(address), .end_i(end_at), .bar_o(hit)
  );

  // EP: poisoned data are for nobody. A prefix, or too many data, make a TLP malformed.
  logic poisoned, malformed, unsupported, taken;
  assign poisoned = !hdr_i[7] && hdr_i[22];
  assign malformed = hdr_i[7] || (is_write && {length, 2'b00} > payload_max_i);
  assign unsupported = is_write ? hit == 2'd3 || hdr_i[19:18] != 2'd0 : !virtio_pkg::message_taken(hdr_i[63:56]);
  assign taken = is_write && !poisoned && !malformed && !unsupported;
  assign hdr_take_o = state_q == IDLE && hdr_valid_i;
  assign error_o = hdr_take_o && (poisoned || malformed || unsupported);
  assign error_bit_o = poisoned ? virtio_pkg::AER_ERROR_POISONED
                       : malformed ? virtio_pkg::AER_ERROR_MALFORMED : virtio_pkg::AER_ERROR_UNSUPPORTED;

  logic last_dw, last_lane;
  assign last_dw = left_q == 11'd1;
  assign last_lane = lane_q == $clog2(BW)'(BW - 1);

  assign reg_we_o = state_q == REGISTERS && dat_valid_i;
  assign reg_bar_o = bar_q;
  assign reg_addr_o = offset_q[13:0];
  assign reg_be_o = first_q ? be_q[3:0] : last_dw ? be_q[7:4] : 4'hf;
  assign reg_data_o = dat_i[{lane_q, 5'd0}+:32];

  assign mem_we_o = state_q == MEMORY && dat_valid_i;
  assign mem_addr_o = offset_q[M-1:0];
  assign mem_data_o = dat_i;
  always_comb begin
    for (int i = 0; i < BW; i++) begin
      mem_be_o[4*i+:4] = (first_q && i == 0) ? be_q[3:0] : (11'(i) + 11'd1 == left_q) ? be_q[7:4]
                         : (11'(i) < left_q) ? 4'hf : 4'h0;
    end
  end

  always_comb begin
    case (state_q)
      REGISTERS: dat_take_o = dat_valid_i && (last_dw || last_lane);
      IDLE:      dat_take_o = 1'b0;
      default:   dat_take_o = dat_valid_i;
    endcase
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q <= IDLE;
    end else begin
      case (state_q)
        IDLE: begin
          if (hdr_valid_i && hdr_has_data_i)
            state_q <= !taken ? DROP : (hit == 2'd2) ? MEMORY : REGISTERS;
        end
        REGISTERS: if (dat_valid_i && last_dw) state_q <= IDLE;
        default:   if (dat_valid_i && dat_last_i) state_q <= IDLE;
      endcase
    end
    if (state_q == IDLE) begin
      bar_q <= hit[0];
      first_q <= 1'b1;
      lane_q <= '0;
      left_q <= length;
      be_q <= hdr_i[63:56];
      offset_q <= address - ((hit == 2'd0) ? bar0_i : (hit == 2'd1) ? bar1_i : bar2_i);
    end else if (state_q == REGISTERS && dat_valid_i) begin
      first_q <= 1'b0;
      lane_q <= last_lane ? '0 : lane_q + 1'b1;
      left_q <= left_q - 11'd1;
      offset_q <= offset_q + 64'd4;
    end else if (state_q == MEMORY && dat_valid_i) begin
      first_q <= 1'b0;
      left_q <= left_q - 11'(BW);
      offset_q <= offset_q + 64'(W / 8);
    end
  end

  logic unused;
  assign unused = &{1'b0, hdr_i, offset_q};
endmodule
