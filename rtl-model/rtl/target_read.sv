// The card as the completer: configuration requests and memory reads, one at a time, each answered. An answer
// leaves behind every posted write that was given before it.
module target_read #(
  parameter int W = 256,
  parameter longint MEMORY_BYTES = 1048576
) (
  input  logic           clk_i,
  input  logic           rst_ni,
  // A request that wants an answer: header, first doubleword of data.
  input  logic           req_valid_i,
  input  logic [127:0]   req_hdr_i,
  input  logic [31:0]    req_data_i,
  output logic           req_take_o,     // answered
  output logic [15:0]    id_o,           // bus, device and function, as configuration writes tell
  // What was wrong with the request, until it is taken note of.
  output logic           error_o,
  output logic [4:0]     error_bit_o,
  output logic [127:0]   error_hdr_o,
  input  logic           error_take_i,
  input  logic           resetting_i,    // configuration requests are put off, others refused
  // Configuration space.
  output logic [9:0]     cfg_addr_o,
  input  logic [31:0]    cfg_rdata_i,
  output logic           cfg_we_o,
  output logic [3:0]     cfg_be_o,
  output logic [31:0]    cfg_wdata_o,
  input  logic [7:0]     window_bar_i,
  input  logic [31:0]    window_offset_i,
  input  logic [31:0]    window_length_i,
  input  logic [31:0]    window_data_i,
  output logic           window_we_o,
  output logic [31:0]    window_wdata_o,
  input  logic           memory_space_i,
  input  logic [63:0]    bar0_i,
  input  logic [63:0]    bar1_i,
  input  logic [63:0]    bar2_i,
  input  logic [12:0]    payload_max_i,
  // Registers, combinational; `re` for those that change by being read.
  output logic           reg_re_o,
  output logic           reg_bar_o,
  output logic [13:0]    reg_addr_o,
  output logic [3:0]     reg_be_o,
  input  logic [31:0]    reg_data_i,
  // Memory on the card: data a cycle after the grant.
  output logic           mem_re_o,
  input  logic           mem_gnt_i,
  output logic [$clog2(MEMORY_BYTES)-1:0] mem_addr_o,
  input  logic [W-1:0]   mem_data_i,
  // A write through the configuration window, while target_write writes nothing.
  output logic           win_we_o,
  input  logic           win_gnt_i,
  output logic [1:0]     win_bar_o,
  output logic [31:0]    win_addr_o,
  output logic [3:0]     win_be_o,
  output logic [31:0]    win_data_o,
  // Posted writes given and gone.
  input  logic [7:0]     given_i,
  input  logic [7:0]     gone_i,
  input  logic           bus_master_i,
  // To tlp_tx.
  output logic           tx_valid_o,
  output logic [127:0]   tx_hdr_o,
  output logic [10:0]    tx_dwords_o,
  output logic           tx_dvalid_o,
  output logic [W-1:0]   tx_data_o,
  input  logic           tx_take_i,
  input  logic           tx_dtake_i
);
  localparam int WB = W / 8;
  localparam int BW = W / 32;
  localparam int M = $clog2(MEMORY_BYTES);
  localparam logic [3:0] IDLE = 4'd0, DECODE = 4'd1, WIN_READ = 4'd2, WIN_WRITE = 4'd3, CONFIG = 4'd4,
                         PART = 4'd5, FETCH = 4'd6, MEMORY = 4'd7, SEND = 4'd8, REFUSE = 4'd9;
  localparam logic [9:0] WINDOW_DW =
      10'((virtio_pkg::LAYOUT_CAP_WINDOW + virtio_pkg::VIRTIO_PCI_CAP_PCI_CFG_DATA) >> 2);

  logic [3:0] state_q;
  logic [15:0] id_q;
  logic [127:0] hdr_q;
  logic [31:0] data_q;
  logic [1:0] bar_q;
  logic [31:0] offset_q;       // in the BAR, of the next byte
  logic [12:0] left_q;         // bytes of the whole answer to come
  logic [12:0] part_q;         // bytes of this completion
  logic [10:0] dwords_q;       // of this completion that are not fetched
  logic [10:0] total_q;
  logic [31:0] at_q;           // where the next beat is fetched, a doubleword
  logic [$clog2(BW):0] lane_q;
  logic [W-1:0] beat_q;
  logic [6:0] address_low_q;   // of the next byte
  logic started_q;             // the header is gone
  logic silent_q;              // a read of no bytes
  logic window_q;
  logic error_q;
  logic [7:0] fence_q;

  // The request.
  logic is_config, is_type_1, is_write, is_read, flush;
  logic [10:0] length;
  logic [63:0] address;
  logic [3:0] first_be, last_be;
  logic [1:0] lead, tail;
  logic [12:0] bytes;
  assign is_config = hdr_q[4:1] == virtio_pkg::TLP_TYPE_CONFIG_0[4:1] && !hdr_q[5];
  assign is_type_1 = hdr_q[0];
  assign is_write = hdr_q[6];
  assign is_read = hdr_q[7:6] == 2'b00 && hdr_q[4:0] == virtio_pkg::TLP_TYPE_MEMORY;
  assign length = {hdr_q[17:16] == 2'd0 && hdr_q[31:24] == 8'd0, hdr_q[17:16], hdr_q[31:24]};
  assign address = hdr_q[5] ? {virtio_pkg::wire_order(hdr_q[95:64]), virtio_pkg::wire_order(hdr_q[127:96])}
                            : {32'd0, virtio_pkg::wire_order(hdr_q[95:64])};
  assign first_be = hdr_q[59:56];
  assign last_be = (length == 11'd1) ? hdr_q[59:56] : hdr_q[63:60];
  assign lead = first_be[0] ? 2'd0 : first_be[1] ? 2'd1 : first_be[2] ? 2'd2 : first_be[3] ? 2'd3 : 2'd0;
  assign tail = last_be[3] ? 2'd0 : last_be[2] ? 2'd1 : last_be[1] ? 2'd2 : 2'd3;
  assign flush = first_be == 4'd0;
  assign bytes = flush ? 13'd1 : {length, 2'b00} - {11'd0, lead} - {11'd0, tail};

  logic [1:0] hit;
  bar_decode #(.MEMORY_BYTES(MEMORY_BYTES)) u_decode (
    .memory_space_i, .bar0_i, .bar1_i, .bar2_i, .start_i(address),
    .end_i(address + {51'd0, length, 2'b00}), .bar_o(hit)
  );

  assign cfg_addr_o = {hdr_q[83:80], hdr_q[95:90]};
  assign cfg_be_o = first_be;
  assign cfg_wdata_o = data_q;
  assign id_o = id_q;

  // A configuration request for a function or a bus that is not here; EP; an address that is translated.
  logic not_ours, poisoned, refuse;
  assign not_ours = is_type_1 || hdr_q[74:72] != 3'd0;
  assign poisoned = hdr_q[22];
  assign refuse = resetting_i || poisoned || (is_config ? not_ours : !is_read || hit == 2'd3 || hdr_q[19:18] != 2'd0);
  assign cfg_we_o = state_q == DECODE && is_config && !refuse && is_write;
  assign error_o = error_q;
  assign error_bit_o = poisoned ? virtio_pkg::AER_ERROR_POISONED : virtio_pkg::AER_ERROR_UNSUPPORTED;
  assign error_hdr_o = hdr_q;

  // The configuration window: 1, 2 or 4 bytes at a multiple of their number, inside the BAR.
  logic window_ok, window_hit;
  logic [3:0] window_be;
  logic [32:0] window_end;
  assign window_hit = cfg_addr_o == WINDOW_DW && first_be != 4'd0;
  assign window_end = {1'b0, window_offset_i} + {1'b0, window_length_i};
  always_comb begin
    case (window_length_i)
      32'd1:   window_be = 4'h1 << window_offset_i[1:0];
      32'd2:   window_be = window_offset_i[0] ? 4'h0 : 4'h3 << window_offset_i[1:0];
      32'd4:   window_be = (window_offset_i[1:0] == 2'd0) ? 4'hf : 4'h0;
      default: window_be = 4'h0;
    endcase
    case (window_bar_i)
      8'd0:    window_ok = window_end <= {1'b0, virtio_pkg::LAYOUT_REGISTERS_BYTES};
      8'd1:    window_ok = window_end <= {1'b0, virtio_pkg::LAYOUT_MSIX_BYTES};
      8'd2:    window_ok = window_end <= 33'(MEMORY_BYTES);
      default: window_ok = 1'b0;
    endcase
    window_ok = window_ok && window_be != 4'h0;
  end

  // One doubleword, from a register or, by the window, from memory.
  logic [31:0] window_mask, window_dw;
  assign window_mask = (window_length_i == 32'd1) ? 32'hff : (window_length_i == 32'd2) ? 32'hffff
                                                                                       : 32'hffff_ffff;
  assign window_dw = (window_bar_i == 8'd2) ? mem_data_i[31:0] : reg_data_i;
  assign window_we_o = state_q == CONFIG && window_q && !is_write;
  assign window_wdata_o = window_ok ? (window_dw >> {window_offset_i[1:0], 3'b000}) & window_mask : 32'd0;
  assign win_we_o = state_q == WIN_WRITE && window_ok;
  assign win_bar_o = window_bar_i[1:0];
  assign win_addr_o = {window_offset_i[31:2], 2'b00};
  assign win_be_o = window_be;
  assign win_data_o = window_data_i << {window_offset_i[1:0], 3'b000};

  logic fetching;
  assign fetching = state_q == FETCH && bar_q != 2'd2;
  assign reg_re_o = (fetching && !silent_q)
                    || (state_q == CONFIG && window_q && !is_write && window_ok && window_bar_i != 8'd2);
  assign reg_bar_o = (state_q == CONFIG) ? window_bar_i[0] : bar_q[0];
  assign reg_addr_o = (state_q == CONFIG) ? {window_offset_i[13:2], 2'b00} : at_q[13:0];
  assign reg_be_o = (state_q == CONFIG) ? window_be
                    : (beat_from_q == '0 && lane_q == '0) ? first_be : 4'hf;

  assign mem_re_o = (state_q == FETCH && bar_q == 2'd2) || (state_q == WIN_READ);
  assign mem_addr_o = (state_q == WIN_READ) ? M'({window_offset_i[31:2], 2'b00}) : M'(at_q);

  // Bytes that this completion holds: all that is left, or up to where it may be cut.
  logic [12:0] cut, part;
  logic [12:0] span;
  assign cut = payload_max_i
               - {6'd0, address_low_q & 7'(virtio_pkg::TLP_COMPLETION_BOUNDARY - 1)};
  assign span = {11'd0, address_low_q[1:0]} + left_q;
  assign part = (span <= payload_max_i) ? left_q : cut;

  // Bytes of the beat that are not part of the answer are zero.
  logic [W-1:0] masked;
  logic [10:0] beat_from_q;  // doublewords of this completion before the beat
  always_comb begin
    for (int b = 0; b < WB; b++) begin
      masked[8*b+:8] = ({beat_from_q, 2'b00} + 13'(b) < {11'd0, address_low_q[1:0]}
                        || {beat_from_q, 2'b00} + 13'(b) >= {11'd0, address_low_q[1:0]} + part_q
                        || silent_q) ? 8'd0 : beat_q[8*b+:8];
    end
  end

  // Headers.
  logic [15:0] requester;
  logic [31:0] c0, c1, c2;
  logic [7:0] c_byte1, c_byte2;
  logic refused, answered_data;
  logic [2:0] status;
  assign requester = {hdr_q[39:32], hdr_q[47:40]};
  assign refused = state_q == REFUSE;
  assign answered_data = !refused && !(is_config && is_write);
  assign c_byte1 = hdr_q[15:8] & 8'b1111_1100;
  assign c_byte2 = {2'b00, hdr_q[21:20], 2'b00, total_q[9:8]};
  logic [12:0] count;
  logic [6:0] lower;
  assign count = (is_config || (refused && !is_read)) ? 13'd4 : refused ? bytes : left_q;
`ifdef BUG_LOWER_ADDRESS
  assign lower = 7'd0;
`else
  assign lower = (is_config || refused) ? 7'd0 : address_low_q;
`endif
  assign c0 = {1'b0, answered_data, 1'b0, virtio_pkg::TLP_TYPE_COMPLETION, c_byte1,
               answered_data ? c_byte2 : {c_byte2[7:2], 2'b00}, answered_data ? total_q[7:0] : 8'd0};
  assign c1 = {id_q, status, 1'b0,
               count[11:0]};
  assign c2 = {requester, hdr_q[55:48], 1'b0, lower};

  assign status = !refused ? virtio_pkg::TLP_STATUS_SUCCESS
                  : (resetting_i && is_config) ? virtio_pkg::TLP_STATUS_RETRY : virtio_pkg::TLP_STATUS_UNSUPPORTED;

  logic in_order;
`ifdef BUG_ANSWER_PASSES_WRITES
  assign in_order = 1'b1;
`else
  // Without Bus Master Enable posted writes stand still; the host must still get its answers.
  assign in_order = $signed(gone_i - fence_q) >= 0 || !bus_master_i;
`endif
  assign tx_valid_o = (state_q == SEND || (refused && !error_q)) && !started_q && in_order;
  assign tx_hdr_o = {32'd0, virtio_pkg::wire_order(c2), virtio_pkg::wire_order(c1),
                     virtio_pkg::wire_order(c0)};
  assign tx_dwords_o = answered_data ? total_q : 11'd0;
  assign tx_dvalid_o = state_q == SEND;
  assign tx_data_o = is_config ? W'(data_q) : masked;
  logic took;
  assign took = tx_take_i || tx_dtake_i;

  assign req_take_o = (refused && tx_take_i)
                      || (state_q == SEND && took && dwords_q == '0 && left_q == part_q);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q <= IDLE;
      id_q <= '0;
      started_q <= 1'b0;
      error_q <= 1'b0;
    end else begin
      if (state_q == DECODE) error_q <= refuse && !resetting_i;
      else if (error_take_i) error_q <= 1'b0;
      case (state_q)
        IDLE: if (req_valid_i && !req_take_o) state_q <= DECODE;
        DECODE: begin
          if (is_config) begin
            if (refuse) state_q <= REFUSE;
            else if (!window_hit) state_q <= CONFIG;
            else if (is_write) state_q <= WIN_WRITE;
            else state_q <= (window_bar_i == 8'd2 && window_ok) ? WIN_READ : CONFIG;
            if (is_write && !refuse) id_q <= {hdr_q[71:64], hdr_q[79:72]};
          end else begin
            state_q <= refuse ? REFUSE : PART;
          end
        end
        WIN_READ:  if (mem_gnt_i) state_q <= CONFIG;
        WIN_WRITE: if (!window_ok || win_gnt_i) state_q <= CONFIG;
        CONFIG: begin
          started_q <= 1'b0;
          state_q <= SEND;
        end
        PART: state_q <= FETCH;
        FETCH: begin
          if (bar_q == 2'd2) begin
            if (mem_gnt_i) state_q <= MEMORY;
          end else if (lane_q == ($clog2(BW) + 1)'(BW - 1) || dwords_q == 11'd1) begin
            state_q <= SEND;
          end
        end
        MEMORY: state_q <= SEND;
        SEND: begin
          if (took) begin
            started_q <= 1'b1;
            if (dwords_q != '0) begin
              state_q <= FETCH;
            end else begin
              started_q <= 1'b0;
              state_q <= (left_q == part_q) ? IDLE : PART;
            end
          end
        end
        REFUSE:  if (tx_take_i) state_q <= IDLE;
        default: state_q <= IDLE;
      endcase
    end

    if (state_q != SEND && state_q != REFUSE && !started_q) fence_q <= given_i;
    case (state_q)
      IDLE: begin
        hdr_q <= req_hdr_i;
        data_q <= req_data_i;
      end
      DECODE: begin
        bar_q <= hit;
        offset_q <= 32'(address + {62'd0, lead}
                        - ((hit == 2'd0) ? bar0_i : (hit == 2'd1) ? bar1_i : bar2_i));
        address_low_q <= {address[6:2], lead};
        left_q <= is_config ? 13'd4 : bytes;
        part_q <= 13'd4;
        total_q <= 11'd1;
        dwords_q <= '0;
        silent_q <= flush;
        window_q <= window_hit;
      end
      CONFIG: data_q <= (window_q && !is_write) ? window_wdata_o : cfg_rdata_i;
      PART: begin
        part_q <= part;
        total_q <= virtio_pkg::run_dwords(address_low_q[1:0], part);
        dwords_q <= virtio_pkg::run_dwords(address_low_q[1:0], part);
        at_q <= {offset_q[31:2], 2'b00};
        lane_q <= '0;
        beat_from_q <= '0;
      end
      FETCH: begin
        if (bar_q != 2'd2) begin
          beat_q[{lane_q[$clog2(BW)-1:0], 5'd0}+:32] <= reg_data_i;
          lane_q <= lane_q + 1'b1;
          at_q <= at_q + 32'd4;
          dwords_q <= dwords_q - 11'd1;
        end
      end
      MEMORY: begin
        beat_q <= mem_data_i;
        at_q <= at_q + 32'(WB);
        dwords_q <= (dwords_q < 11'(BW)) ? '0 : dwords_q - 11'(BW);
      end
      SEND: begin
        if (took) begin
          lane_q <= '0;
          beat_from_q <= beat_from_q + 11'(BW);
          if (dwords_q == '0) begin
            left_q <= left_q - part_q;
            offset_q <= offset_q + {19'd0, part_q};
            address_low_q <= address_low_q + part_q[6:0];
          end
        end
      end
      default: ;
    endcase
  end

  logic unused;
  assign unused = &{1'b0, hdr_q, last_be, count[12], window_bar_i};
endmodule
