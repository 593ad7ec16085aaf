// One virtqueue: fetch, contexts with their segments and buffers, payload reads, the device's turn, completion.
// Requests go through all of it in the order of the ring.
module queue_engine #(
  parameter int W = 256,
  parameter bit RECEIVES = 1'b0,     // its buffers wait for packets: nothing is read for a request
  parameter int CB = 3,              // bits of a context's number: 2^CB requests at a time
  parameter int SB = 7,              // bits of a segment's number
  parameter int PREFETCH = 1,
  parameter int BATCH = 1,
  parameter int TABLE_ENTRIES = 256,
  parameter int LB = 16,             // bits of a place in the buffers of all contexts
  parameter int AB = 20
) (
  input  logic          clk_i,
  input  logic          rst_ni,
  input  logic          reset_i,     // the device is reset
  input  logic          on_i,
  input  logic [15:0]   size_i,
  input  logic [63:0]   desc_i,
  input  logic [63:0]   driver_i,
  input  logic [63:0]   device_i,
  input  logic          event_idx_i,
  input  logic          indirect_i,
  input  logic [12:0]   read_max_i,
  input  logic          doorbell_i,
  output logic          fault_o,
  output logic          interrupt_o,
  // Reads: fetch, suppression word, payload.
  output logic [2:0]      ask_valid_o,
  output logic [3*64-1:0] ask_address_o,
  output logic [3*32-1:0] ask_left_o,
  output logic [3*AB-1:0] ask_at_o,
  output logic [CB-1:0]   ask_context_o,   // of the payload read
  input  logic [2:0]      sent_i,
  input  logic [12:0]     sent_bytes_i,
  input  logic [2:0]      got_valid_i,
  input  logic [CB-1:0]   got_context_i,
  input  logic [AB-1:0]   got_at_i,
  input  logic [W-1:0]    got_data_i,
  input  logic [W/8-1:0]  got_be_i,
  input  logic [12:0]     got_bytes_i,
  input  logic [1:0]      got_lead_i,
  input  logic            got_failed_i,
  // Jobs for dma_write.
  output logic          job_valid_o,
  input  logic          job_ready_i,
  output logic          job_burst_o,
  output logic [CB:0]   job_context_o,
  output logic [63:0]   job_address_o,
  output logic [31:0]   job_bytes_o,
  output logic [CB:0]   job_release_o,
  output logic [W-1:0]  job_data_o,
  input  logic [7:0]    given_i,
  input  logic [7:0]    gone_i,
  input  logic          release_i,
  input  logic [CB:0]   release_count_i,
  input  logic [CB:0]   burst_context_i,
  input  logic [SB-1:0] burst_index_i,
  output logic [63:0]   burst_address_o,
  output logic [31:0]   burst_bytes_o,
  output logic [SB:0]   burst_first_o,
  input  logic          burst_re_i,
  input  logic [LB-1:0] burst_at_i,
  output logic [W-1:0]  buf_data_o,
  // The device: the oldest request that is ready, its buffer, and its end.
  output logic          req_valid_o,
  output logic [31:0]   req_readable_o,
  output logic [31:0]   req_writable_o,
  output logic          req_failed_o,
  input  logic          dev_busy_i,
  input  logic          dev_re_i,
  output logic          dev_rgnt_o,
  input  logic [LB-CB-1:0] dev_raddr_i,
  input  logic          dev_we_i,
  output logic          dev_wgnt_o,
  input  logic [LB-CB-1:0] dev_waddr_i,
  input  logic [W-1:0]  dev_wdata_i,
  input  logic [W/8-1:0] dev_wbe_i,
  input  logic          done_valid_i,
  output logic          done_ready_o,
  input  logic [31:0]   done_used_i,
  input  logic [31:0]   done_from_i,
  input  logic [31:0]   done_bytes_i,
  output logic          stat_index_read_o,
  output logic          stat_index_o,
  output logic          stat_entry_o,
  output logic          stat_descriptor_o,
  output logic          stat_payload_read_o,
  output logic          stat_process_o,
  output logic          stat_used_o
);
  localparam int SLOTS = 2 << CB;  // one chain is put together while all contexts are taken
  localparam int CONTEXTS = 1 << CB;
  localparam logic [31:0] BUFFER_BYTES = 32'd1 << (LB - CB);

  logic run_n;
  assign run_n = rst_ni && !reset_i;

  // ---- Contexts: submitted, payload asked for, done by the device, over ----
  logic [CB:0] submitted_q, asked_q, done_q, over_q;
  logic has_context, submit;
  assign has_context = submitted_q - over_q != (CB + 1)'(CONTEXTS);

  logic [15:0] head_q[SLOTS];
  logic [SB:0] readable_q[SLOTS];
  logic [31:0] readable_bytes_q[SLOTS];
  logic [31:0] writable_bytes_q[SLOTS];
  logic [31:0] missing_q[CONTEXTS];
  logic [CONTEXTS-1:0] failed_q;

  // ---- Fetch ----
  logic fetch_fault, fetch_busy, fetch_job, fetch_job_ready, seg_we;
  logic [63:0] fetch_job_address, seg_address;
  logic [15:0] fetch_job_data, head;
  logic [SB-1:0] seg_index;
  logic [31:0] seg_bytes, readable_bytes, writable_bytes;
  logic [SB:0] readable, segments;
  queue_fetch #(
    .W(W), .SB(SB), .PREFETCH(PREFETCH), .TABLE_ENTRIES(TABLE_ENTRIES), .AB(AB)
  ) u_fetch (
    .clk_i, .rst_ni(run_n), .on_i, .size_i, .desc_i, .driver_i, .device_i, .event_idx_i, .indirect_i,
    .read_max_i, .doorbell_i, .ask_valid_o(ask_valid_o[0]), .ask_address_o(ask_address_o[63:0]),
    .ask_left_o(ask_left_o[31:0]), .ask_at_o(ask_at_o[AB-1:0]), .sent_i(sent_i[0]), .sent_bytes_i,
    .got_valid_i(got_valid_i[0]), .got_at_i, .got_data_i, .got_be_i, .got_bytes_i, .got_failed_i,
    .job_valid_o(fetch_job), .job_ready_i(fetch_job_ready), .job_address_o(fetch_job_address),
    .job_data_o(fetch_job_data), .given_i, .gone_i, .seg_we_o(seg_we), .seg_index_o(seg_index),
    .seg_address_o(seg_address), .seg_bytes_o(seg_bytes), .submit_o(submit), .context_i(has_context),
    .head_o(head), .readable_o(readable), .segments_o(segments), .readable_bytes_o(readable_bytes),
    .writable_bytes_o(writable_bytes), .busy_o(fetch_busy), .fault_o(fetch_fault), .stat_index_read_o,
    .stat_index_o, .stat_entry_o, .stat_descriptor_o
  );

  // ---- Segments: written by fetch, read for payload reads and for payload writes ----
  logic [95:0] segment_mem[SLOTS << SB];
  logic [95:0] read_seg_q, burst_seg_q;
  logic [CB:0] walk_slot;
  logic [SB:0] walk_q;
  assign walk_slot = asked_q;
  always_ff @(posedge clk_i) begin
    if (seg_we) segment_mem[{submitted_q, seg_index}] <= {seg_bytes, seg_address};
    read_seg_q <= segment_mem[{walk_slot, walk_q[SB-1:0]}];
    burst_seg_q <= segment_mem[{burst_context_i, burst_index_i}];
  end
  assign {burst_bytes_o, burst_address_o} = burst_seg_q;
  assign burst_first_o = readable_q[burst_context_i];

  // ---- Payload reads, request by request ----
  localparam logic [1:0] IDLE = 2'd0, LOAD = 2'd1, LOADED = 2'd2, READ = 2'd3;
  logic [1:0] state_q;
  logic [63:0] address_q;
  logic [31:0] left_q, at_q;
  logic too_large;
  assign too_large = readable_bytes > BUFFER_BYTES;
  assign ask_valid_o[2] = state_q == READ;
  assign ask_address_o[191:128] = address_q;
  assign ask_left_o[95:64] = left_q;
  assign ask_at_o[3*AB-1:2*AB] = AB'({asked_q[CB-1:0], at_q[LB-CB-1:0]});
  assign ask_context_o = asked_q[CB-1:0];
  assign stat_payload_read_o = sent_i[2];

  logic walk_last;
  assign walk_last = walk_q == readable_q[walk_slot];

  always_ff @(posedge clk_i) begin
    if (!run_n) begin
      state_q <= IDLE;
      submitted_q <= '0;
      asked_q <= '0;
      done_q <= '0;
      over_q <= '0;
      failed_q <= '0;
    end else begin
      if (submit) begin
        submitted_q <= submitted_q + 1'b1;
        failed_q[submitted_q[CB-1:0]] <= !RECEIVES && too_large;
      end
      if (done_valid_i && done_ready_o) done_q <= done_q + 1'b1;
      if (release_i) over_q <= over_q + release_count_i;
      case (state_q)
        IDLE: begin
          if (asked_q != submitted_q) begin
            if (RECEIVES || failed_q[asked_q[CB-1:0]] || readable_q[walk_slot] == '0)
              asked_q <= asked_q + 1'b1;
            else state_q <= LOAD;
          end
        end
        LOAD: state_q <= LOADED;
        LOADED: begin
          if (read_seg_q[95:64] != '0) state_q <= READ;
          else if (walk_q + 1'b1 == readable_q[walk_slot]) begin
            asked_q <= asked_q + 1'b1;
            state_q <= IDLE;
          end else state_q <= LOAD;
        end
        default: begin
          if (sent_i[2] && left_q == {19'd0, sent_bytes_i}) begin
            if (walk_last) begin
              asked_q <= asked_q + 1'b1;
              state_q <= IDLE;
            end else state_q <= LOAD;
          end
        end
      endcase
      if (got_valid_i[2] && got_failed_i) failed_q[got_context_i] <= 1'b1;
    end
    if (state_q == IDLE) begin
      walk_q <= '0;
      at_q <= '0;
    end else if (state_q == LOADED) begin
      walk_q <= walk_q + 1'b1;
      {left_q, address_q} <= read_seg_q;
    end else if (sent_i[2]) begin
      address_q <= address_q + {51'd0, sent_bytes_i};
      left_q <= left_q - {19'd0, sent_bytes_i};
      at_q <= at_q + {19'd0, sent_bytes_i};
    end
    if (submit) begin
      head_q[submitted_q] <= head;
      readable_q[submitted_q] <= readable;
      readable_bytes_q[submitted_q] <= readable_bytes;
      writable_bytes_q[submitted_q] <= writable_bytes;
      missing_q[submitted_q[CB-1:0]] <= too_large ? '0 : readable_bytes;
    end
    if (got_valid_i[2])
      missing_q[got_context_i] <= missing_q[got_context_i] - {19'd0, got_bytes_i};
  end

  // ---- The device's turn ----
  assign req_valid_o = done_q != asked_q && (RECEIVES || missing_q[done_q[CB-1:0]] == '0);
  assign req_readable_o = readable_bytes_q[done_q];
  assign req_writable_o = writable_bytes_q[done_q];
  assign req_failed_o = failed_q[done_q[CB-1:0]];
  assign stat_process_o = done_valid_i && done_ready_o;

  // ---- Buffers: what was read; then what is to be written ----
  logic payload_we;
  assign payload_we = got_valid_i[2] && !got_failed_i;
  assign dev_wgnt_o = dev_we_i && !payload_we;
  assign dev_rgnt_o = dev_re_i && !burst_re_i;
  byte_ram #(.W(W), .BYTES(1 << LB)) u_buffers (
    .clk_i,
    .we_i(payload_we || dev_we_i),
    .waddr_i(payload_we ? LB'(got_at_i) : {done_q[CB-1:0], dev_waddr_i}),
    .wdata_i(payload_we ? got_data_i : dev_wdata_i),
    .wbe_i(payload_we ? got_be_i : dev_wbe_i),
    .re_i(burst_re_i || dev_re_i),
    .raddr_i(burst_re_i ? burst_at_i : {done_q[CB-1:0], dev_raddr_i}),
    .rdata_o(buf_data_o)
  );

  // ---- Completion ----
  logic used_job, used_fault, more;
  logic [63:0] used_address;
  logic [31:0] used_bytes;
  logic [W-1:0] used_data;
  logic used_burst;
  logic [CB:0] used_release;
  assign more = RECEIVES ? dev_busy_i : (done_q != submitted_q || fetch_busy);
  queue_used #(.W(W), .CB(CB), .BATCH(BATCH)) u_used (
    .clk_i, .rst_ni(run_n), .size_i, .driver_i, .device_i, .event_idx_i, .done_valid_i, .done_ready_o,
    .done_context_i(done_q), .done_head_i(head_q[done_q]), .done_used_i, .done_from_i, .done_bytes_i,
    .more_i(more), .job_valid_o(used_job), .job_ready_i(job_ready_i && used_job), .job_burst_o(used_burst),
    .job_context_o, .job_address_o(used_address), .job_bytes_o(used_bytes), .job_release_o(used_release),
    .job_data_o(used_data), .given_i, .gone_i, .ask_valid_o(ask_valid_o[1]),
    .ask_address_o(ask_address_o[127:64]), .sent_i(sent_i[1]), .got_valid_i(got_valid_i[1]), .got_data_i,
    .got_lead_i, .got_failed_i, .fault_o(used_fault), .interrupt_o, .stat_used_o
  );
  assign ask_left_o[63:32] = 32'd2;
  assign ask_at_o[2*AB-1:AB] = '0;
  assign fault_o = fetch_fault || used_fault;

  // Used jobs go before avail_event.
  assign fetch_job_ready = job_ready_i && !used_job;
  assign job_valid_o = used_job || fetch_job;
  assign job_burst_o = used_job && used_burst;
  assign job_address_o = used_job ? used_address : fetch_job_address;
  assign job_bytes_o = used_job ? used_bytes : 32'd2;
  assign job_release_o = used_job ? used_release : '0;
  assign job_data_o = used_job ? used_data : W'(fetch_job_data);

  logic unused;
  assign unused = &{1'b0, segments, at_q, got_at_i};
endmodule
