// The fetch engine of a split queue: available index, ring entries, descriptors, indirect tables; as the model's
// ring/split.rs. With EVENT_IDX, a queue that has run dry writes avail_event and looks at the index once more
// behind that write, since the driver may have added a buffer and kept silent.
//
//   IDLE -> INDEX -> NEXT -> ENTRIES -> HEAD -> WANT -> DESCRIPTOR -> TAKE -> (TABLE -> ROW) -> SUBMIT -> NEXT
//     ^----------- REST <------'
module queue_fetch #(
  parameter int W = 256,
  parameter int SB = 7,              // bits of a segment's number
  parameter int PREFETCH = 1,        // elements that one read may ask for
  parameter int TABLE_ENTRIES = 256, // a power of two: the longest indirect table
  parameter int AB = 20              // bits of a place
) (
  input  logic         clk_i,
  input  logic         rst_ni,         // low in a device reset, too
  input  logic         on_i,
  input  logic [15:0]  size_i,
  input  logic [63:0]  desc_i,
  input  logic [63:0]  driver_i,
  input  logic [63:0]  device_i,
  input  logic         event_idx_i,
  input  logic         indirect_i,
  input  logic [12:0]  read_max_i,
  input  logic         doorbell_i,
  // A read, by way of dma_read.
  output logic         ask_valid_o,
  output logic [63:0]  ask_address_o,
  output logic [31:0]  ask_left_o,
  output logic [AB-1:0] ask_at_o,
  input  logic         sent_i,
  input  logic [12:0]  sent_bytes_i,
  input  logic         got_valid_i,
  input  logic [AB-1:0] got_at_i,
  input  logic [W-1:0] got_data_i,
  input  logic [W/8-1:0] got_be_i,
  input  logic [12:0]  got_bytes_i,
  input  logic         got_failed_i,
  // The write of avail_event.
  output logic         job_valid_o,
  input  logic         job_ready_i,
  output logic [63:0]  job_address_o,
  output logic [15:0]  job_data_o,
  input  logic [7:0]   given_i,
  input  logic [7:0]   gone_i,
  // The chain being put together.
  output logic         seg_we_o,
  output logic [SB-1:0] seg_index_o,
  output logic [63:0]  seg_address_o,
  output logic [31:0]  seg_bytes_o,
  output logic         submit_o,       // the chain is complete, and a context takes it
  input  logic         context_i,      // there is one
  output logic [15:0]  head_o,
  output logic [SB:0]  readable_o,     // segments
  output logic [SB:0]  segments_o,
  output logic [31:0]  readable_bytes_o,
  output logic [31:0]  writable_bytes_o,
  output logic         busy_o,         // a chain is on its way
  output logic         fault_o,        // one cycle: the ring cannot go on
  output logic         stat_index_read_o,
  output logic         stat_index_o,
  output logic         stat_entry_o,
  output logic         stat_descriptor_o
);
  localparam int IW = (W < 128) ? 128 : W;
  localparam int IBYTES = 2 * TABLE_ENTRIES * virtio_pkg::VIRTQ_DESC_BYTES;
  localparam int IB = $clog2(IBYTES);
  // The inbox: descriptors, then entries, then the index in its lower half, a table in the upper.
  localparam logic [IB-1:0] ENTRY_AT = IB'(IBYTES / 4);
  localparam logic [IB-1:0] INDEX_AT = IB'(IBYTES / 4 + IBYTES / 8);
  localparam logic [IB-1:0] TABLE_AT = IB'(IBYTES / 2);

  localparam logic [3:0] IDLE = 4'd0, INDEX = 4'd1, INDEX_TAKE = 4'd2, NEXT = 4'd3, ENTRIES = 4'd4,
                         HEAD = 4'd5, HEAD_TAKE = 4'd6, WANT = 4'd7, DESCRIPTOR = 4'd8, TAKE = 4'd9,
                         TABLE = 4'd10, ROW = 4'd11, SUBMIT = 4'd12, REST = 4'd13, HALTED = 4'd14;

  logic [3:0] state_q;
  logic doorbell_q;
  logic [15:0] seen_q, next_q, armed_q, position_q;
  logic armed_valid_q;
  logic [15:0] heads_q, heads_at_q;    // entries that were read and not taken up, and the next of them
  logic [15:0] start_q, count_q, until_q;  // descriptors at hand: from, how many, for heads before
  logic [15:0] index_q, head_q;
  logic [16:0] links_q, rows_q;
  logic [SB:0] readable_q, segments_q;
  logic [31:0] readable_bytes_q, writable_bytes_q;

  // ---- The read under way ----
  logic asking_q, fenced_q, failed_q;
  logic [63:0] address_q;
  logic [31:0] left_q, missing_q;
  logic [AB-1:0] at_q;
  logic [7:0] fence_q;
  logic arrived;
  assign ask_valid_o = asking_q && (!fenced_q || $signed(gone_i - fence_q) >= 0);
  assign ask_address_o = address_q;
  assign ask_left_o = left_q;
  assign ask_at_o = at_q;
  assign arrived = !asking_q && missing_q == '0;

  logic read, read_fenced;
  logic [63:0] read_address;
  logic [31:0] read_bytes;
  logic [IB-1:0] read_at;

  // ---- The inbox ----
  logic [IB-1:0] raddr;
  logic [IW-1:0] rdata;
  byte_ram #(.W(IW), .BYTES(IBYTES)) u_inbox (
    .clk_i, .we_i(got_valid_i && !got_failed_i), .waddr_i(IB'(got_at_i)), .wdata_i(IW'(got_data_i)),
    .wbe_i((IW / 8)'(got_be_i)), .re_i(1'b1), .raddr_i(raddr), .rdata_o(rdata)
  );
  logic [63:0] d_address;
  logic [31:0] d_bytes;
  logic [15:0] d_flags, d_next;
  assign {d_next, d_flags, d_bytes, d_address} = rdata[127:0];

  // ---- What to do next ----
  logic [15:0] available, slot, to_end, wanted;
  assign available = seen_q - next_q;
  assign slot = next_q & (size_i - 16'd1);
  assign to_end = size_i - slot;
  function automatic logic [15:0] least(input logic [15:0] a, input logic [15:0] b);
    least = (a < b) ? a : b;
  endfunction
  // Fetching ahead must not cost a second request.
  function automatic logic [15:0] one_read(input logic [11:0] address, input logic [15:0] count,
                                           input logic [2:0] shift, input logic [12:0] most);
    logic [12:0] bytes;
    bytes = virtio_pkg::one_tlp(address, {16'd0, count} << shift, most) >> shift;
    one_read = (bytes == '0) ? 16'd1 : {3'd0, bytes};
  endfunction

  logic [15:0] entries, descriptors;
  logic [63:0] entry_address, desc_address;
  assign entry_address = driver_i + virtio_pkg::VIRTQ_AVAIL_RING + {47'd0, slot, 1'b0};
  assign desc_address = desc_i + {44'd0, index_q, 4'd0};
  assign wanted = least(least(available, 16'(PREFETCH)), to_end);
  assign entries = one_read(entry_address[11:0], wanted, 3'd1, read_max_i);
  assign descriptors = one_read(desc_address[11:0], least(16'(PREFETCH), size_i - index_q), 3'd4,
                                read_max_i);

  // A descriptor read ahead of time counts only for a head that was available by then.
  logic in_time, at_hand;
  logic [15:0] ahead, behind;
  assign ahead = until_q - position_q;
  assign behind = index_q - start_q;
`ifdef BUG_PREFETCH_STALE
  assign in_time = 1'b1 | (|ahead);
`else
  assign in_time = ahead != 16'd0 && ahead <= 16'(virtio_pkg::VIRTQ_MAX_SIZE);
`endif
  assign at_hand = in_time && behind < count_q;

  logic is_indirect, is_next, is_write, jump, table_bad, add;
  assign is_indirect = (d_flags & virtio_pkg::VIRTQ_DESC_F_INDIRECT) != 16'd0;
  assign is_next = (d_flags & virtio_pkg::VIRTQ_DESC_F_NEXT) != 16'd0;
  assign is_write = (d_flags & virtio_pkg::VIRTQ_DESC_F_WRITE) != 16'd0;
  assign jump = 16'(rdata[15:0] - next_q) > size_i;
  assign table_bad = d_bytes == '0 || d_bytes[3:0] != 4'd0
                     || d_bytes > 32'(TABLE_ENTRIES * virtio_pkg::VIRTQ_DESC_BYTES);

  logic links_over, add_bad, at_desc, at_row;
  assign at_desc = state_q == TAKE;
  assign at_row = state_q == ROW;
  assign links_over = (at_desc && links_q == {1'b0, size_i}) || (at_row && links_q == rows_q);
  assign add = (at_desc || at_row) && !is_indirect && !links_over;
  // A readable buffer behind a writable one; or more buffers than the card remembers.
  assign add_bad = (!is_write && readable_q != segments_q) || segments_q[SB];

  logic row_outside;
  assign row_outside = at_row && {1'b0, index_q} >= rows_q;

  always_comb begin
    fault_o = 1'b0;
    case (state_q)
      INDEX_TAKE: fault_o = failed_q || jump;
      HEAD_TAKE, TABLE: fault_o = arrived && failed_q;
      WANT: fault_o = failed_q || index_q >= size_i;
      TAKE:
        fault_o = failed_q || links_over || (add && add_bad)
                  || (is_indirect && (!indirect_i || is_next || table_bad));
      ROW: fault_o = links_over || row_outside || is_indirect || (add && add_bad);
      default: ;
    endcase
  end

  assign seg_we_o = add && !add_bad && !row_outside;
  assign seg_index_o = segments_q[SB-1:0];
  assign seg_address_o = d_address;
  assign seg_bytes_o = d_bytes;
  assign head_o = head_q;
  assign readable_o = readable_q;
  assign segments_o = segments_q;
  assign readable_bytes_o = readable_bytes_q;
  assign writable_bytes_o = writable_bytes_q;
  assign submit_o = state_q == SUBMIT && context_i && on_i;
  assign busy_o = state_q == ENTRIES || state_q == HEAD || state_q == HEAD_TAKE || state_q == WANT
                  || state_q == DESCRIPTOR || state_q == TAKE || state_q == TABLE || state_q == ROW
                  || (state_q == SUBMIT && context_i)
                  || (state_q == NEXT && (heads_q != '0 || available != '0));

  logic arm;
  assign arm = event_idx_i && !(armed_valid_q && armed_q == next_q);
  assign job_valid_o = state_q == REST && arm;
  assign job_address_o = device_i + virtio_pkg::VIRTQ_USED_RING + {45'd0, size_i, 3'd0};
`ifdef BUG_EVENT_INDEX_OFF_BY_ONE
  assign job_data_o = next_q - 16'd1;
`else
  assign job_data_o = next_q;
`endif

  // ---- Reads ----
  logic want_index;
  assign want_index = (state_q == IDLE && doorbell_q && on_i)
                      || (state_q == REST && (arm ? job_ready_i : doorbell_q));
  always_comb begin
    read = 1'b0;
    read_fenced = 1'b0;
    read_address = driver_i + virtio_pkg::VIRTQ_AVAIL_IDX;
    read_bytes = 32'd2;
    read_at = INDEX_AT;
    if (want_index) begin
      read = 1'b1;
      read_fenced = state_q == REST && arm;
    end else if (state_q == NEXT && heads_q == '0 && available != '0) begin
      read = 1'b1;
      read_address = entry_address;
      read_bytes = {15'd0, entries, 1'b0};
      read_at = ENTRY_AT;
    end else if (state_q == WANT && !fault_o && !at_hand) begin
      read = 1'b1;
      read_address = desc_address;
      read_bytes = {12'd0, descriptors, 4'd0};
      read_at = '0;
    end else if (at_desc && !fault_o && is_indirect) begin
      read = 1'b1;
      read_address = d_address;
      read_bytes = d_bytes;
      read_at = TABLE_AT;
    end
  end

  // Where the inbox is looked at, for the cycle behind.
  always_comb begin
    case (state_q)
      INDEX:          raddr = INDEX_AT;
      ENTRIES, HEAD:  raddr = ENTRY_AT + IB'({heads_at_q, 1'b0});
      WANT:           raddr = IB'({behind, 4'd0});
      TABLE:          raddr = TABLE_AT;
      ROW:            raddr = TABLE_AT + IB'({d_next, 4'd0});
      default:        raddr = '0;
    endcase
  end

  assign stat_index_read_o = state_q == INDEX && sent_i;
  assign stat_index_o = state_q == INDEX_TAKE;
  assign stat_entry_o = state_q == HEAD_TAKE;
  assign stat_descriptor_o = seg_we_o;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q <= IDLE;
      doorbell_q <= 1'b0;
      seen_q <= '0;
      next_q <= '0;
      armed_valid_q <= 1'b0;
      heads_q <= '0;
      count_q <= '0;
      start_q <= '0;
      until_q <= '0;
      asking_q <= 1'b0;
      missing_q <= '0;
      failed_q <= 1'b0;
    end else begin
      // A doorbell before the index is asked for is answered by it.
      if (doorbell_i && on_i) doorbell_q <= 1'b1;
      else if (state_q == INDEX && sent_i) doorbell_q <= 1'b0;

      if (read) begin
        asking_q <= 1'b1;
        missing_q <= read_bytes;
        failed_q <= 1'b0;
      end else begin
        if (sent_i && left_q == {19'd0, sent_bytes_i}) asking_q <= 1'b0;
        if (got_valid_i) begin
          missing_q <= missing_q - {19'd0, got_bytes_i};
          if (got_failed_i) failed_q <= 1'b1;
        end
      end

      case (state_q)
        IDLE, REST: begin
          if (want_index) begin
            state_q <= INDEX;
            doorbell_q <= doorbell_i;
          end else if (state_q == REST && !arm) begin
            state_q <= IDLE;
          end
          if (job_valid_o && job_ready_i) begin
            armed_q <= next_q;
            armed_valid_q <= 1'b1;
          end
        end
        INDEX: if (arrived) state_q <= INDEX_TAKE;
        INDEX_TAKE: begin
          seen_q <= rdata[15:0];
          state_q <= NEXT;
        end
        NEXT: begin
          heads_at_q <= (heads_q != '0) ? heads_at_q : '0;
          if (heads_q != '0) begin
            state_q <= HEAD;
          end else if (available != '0) begin
            state_q <= ENTRIES;
            heads_q <= entries;
          end else begin
            state_q <= REST;
          end
        end
        ENTRIES: begin
          if (arrived) begin
            next_q <= next_q + heads_q;
            state_q <= HEAD_TAKE;
          end
        end
        HEAD: state_q <= HEAD_TAKE;
        HEAD_TAKE: begin
          head_q <= rdata[15:0];
          index_q <= rdata[15:0];
          position_q <= next_q - heads_q;
          heads_q <= heads_q - 16'd1;
          heads_at_q <= heads_at_q + 16'd1;
          links_q <= '0;
          readable_q <= '0;
          segments_q <= '0;
          readable_bytes_q <= '0;
          writable_bytes_q <= '0;
          state_q <= WANT;
        end
        WANT: begin
          if (at_hand) begin
            state_q <= TAKE;
          end else begin
            state_q <= DESCRIPTOR;
            start_q <= index_q;
            count_q <= descriptors;
            until_q <= seen_q;
          end
        end
        DESCRIPTOR: if (arrived) state_q <= TAKE;
        TAKE: begin
          links_q <= is_indirect ? '0 : links_q + 17'd1;
          rows_q <= 17'(d_bytes >> 4);
`ifdef BUG_NEXT_IGNORED
          index_q <= is_indirect ? '0 : index_q + 16'd1;
`else
          index_q <= is_indirect ? '0 : d_next;
`endif
          state_q <= is_indirect ? TABLE : is_next ? WANT : SUBMIT;
        end
        TABLE: if (arrived) state_q <= ROW;
        ROW: begin
          links_q <= links_q + 17'd1;
          index_q <= d_next;
          if (!is_next) state_q <= SUBMIT;
        end
        SUBMIT: if (context_i) state_q <= NEXT;
        default: ;
      endcase
      if (fault_o) state_q <= HALTED;
      if (!on_i) state_q <= (state_q == HALTED) ? HALTED : IDLE;

      if (seg_we_o) begin
        segments_q <= segments_q + 1'b1;
        if (is_write) begin
          writable_bytes_q <= writable_bytes_q + d_bytes;
        end else begin
          readable_q <= readable_q + 1'b1;
          readable_bytes_q <= readable_bytes_q + d_bytes;
        end
      end
    end

    if (read) begin
      fenced_q <= read_fenced;
      address_q <= read_address;
      left_q <= read_bytes;
      at_q <= AB'(read_at);
    end else if (sent_i) begin
      address_q <= address_q + {51'd0, sent_bytes_i};
      left_q <= left_q - {19'd0, sent_bytes_i};
      at_q <= at_q + AB'(sent_bytes_i);
    end
    // The job was accepted in the cycle before: it is among what was given.
    if (state_q == REST) fence_q <= given_i + 8'd1;
  end

  logic unused;
  assign unused = &{1'b0, got_at_i, rdata};
endmodule
