// Everything that is posted, in the order in which it was given: used rings, payload, interrupt messages. Cuts
// it into TLPs, or into writes of memory on the card, and says what has gone.
//
//   jobs --> queue --> cut into chunks, read their data --> beats --> tlp_tx, or memory on the card
module dma_write #(
  parameter int W = 256,
  parameter int SOURCES = 2,      // who gives jobs; a lower number goes first
  parameter int QUEUES = 1,
  parameter int QB = 1,
  parameter int CB = 3,           // bits of a context's number
  parameter int SB = 7,           // bits of a segment's number
  parameter int LB = 20,          // bits of a place in a context's buffer
  parameter longint MEMORY_BYTES = 1048576
) (
  input  logic                  clk_i,
  input  logic                  rst_ni,
  input  logic                  abort_i,
  output logic                  idle_o,
  input  logic                  bus_master_i,
  input  logic [12:0]           payload_max_i,
  input  logic [15:0]           id_i,
  input  logic [63:0]           bar2_i,
  // Jobs: up to W/8 bytes at an address, or a burst of a context's buffer to its writable segments.
  input  logic [SOURCES-1:0]    job_valid_i,
  output logic [SOURCES-1:0]    job_ready_o,
  input  logic [SOURCES-1:0]    job_burst_i,
  input  logic [SOURCES*QB-1:0] job_queue_i,
  input  logic [SOURCES*(CB+1)-1:0] job_context_i,
  input  logic [SOURCES*64-1:0] job_address_i,  // of a burst: writable bytes to pass over
  input  logic [SOURCES*32-1:0] job_bytes_i,
  input  logic [SOURCES*(CB+1)-1:0] job_release_i,  // contexts that are over with it
  input  logic [SOURCES*W-1:0]  job_data_i,
  output logic [7:0]            given_o,
  output logic [7:0]            gone_o,
  output logic [QUEUES-1:0]     release_o,
  output logic [CB:0]           release_count_o,
  output logic [QUEUES-1:0]     burst_sent_o,   // a payload write left
  // The segments of a context, a cycle later.
  output logic [QB-1:0]         seg_queue_o,
  output logic [CB:0]           seg_context_o,
  output logic [SB-1:0]         seg_index_o,
  input  logic [63:0]           seg_address_i,
  input  logic [31:0]           seg_bytes_i,
  input  logic [SB:0]           seg_first_i,    // the first writable one, at once
  // The buffer of a context, a cycle later.
  output logic                  buf_re_o,
  output logic [LB-1:0]         buf_at_o,
  input  logic [W-1:0]          buf_data_i,
  // To tlp_tx.
  output logic                  tx_valid_o,
  output logic [127:0]          tx_hdr_o,
  output logic [10:0]           tx_dwords_o,
  output logic                  tx_dvalid_o,
  output logic [W-1:0]          tx_data_o,
  input  logic                  tx_take_i,
  input  logic                  tx_dtake_i,
  output logic                  tx_open_o,      // a TLP has begun and goes on
  // Memory on the card.
  output logic                  mem_we_o,
  input  logic                  mem_gnt_i,
  output logic [$clog2(MEMORY_BYTES)-1:0] mem_addr_o,
  output logic [W-1:0]          mem_data_o,
  output logic [W/8-1:0]        mem_be_o
);
  localparam int WB = W / 8;
  localparam int M = $clog2(MEMORY_BYTES);
  localparam int JW = 1 + QB + 2 * (CB + 1) + 64 + 32 + W;

  // ---- Jobs, in order ----
  logic [JW-1:0] job_in, job;
  logic job_push, job_pop, job_here;
  logic [3:0] job_count;
  logic [SOURCES-1:0] pick;
  always_comb begin
    pick = '0;
    job_in = '0;
    for (int s = SOURCES - 1; s >= 0; s--) begin
      if (job_valid_i[s]) begin
        pick = '0;
        pick[s] = 1'b1;
        job_in = {job_burst_i[s], job_queue_i[QB*s+:QB], job_context_i[(CB+1)*s+:CB+1],
                  job_release_i[(CB+1)*s+:CB+1], job_address_i[64*s+:64], job_bytes_i[32*s+:32],
                  job_data_i[W*s+:W]};
      end
    end
  end
  assign job_push = job_valid_i != '0 && job_count < 4'd8;
  assign job_ready_o = (job_count < 4'd8) ? pick : '0;
  sync_fifo #(.WIDTH(JW), .DEPTH(8)) u_jobs (
    .clk_i, .rst_ni, .push_i(job_push), .data_i(job_in), .pop_i(job_pop), .valid_o(job_here),
    .data_o(job), .count_o(job_count)
  );
  logic burst;
  logic [QB-1:0] queue;
  logic [CB:0] context_no, release_no;
  logic [63:0] job_address;
  logic [31:0] job_bytes;
  logic [W-1:0] job_data;
  assign {burst, queue, context_no, release_no, job_address, job_bytes, job_data} = job;

  // ---- Cutting ----
  localparam logic [2:0] IDLE = 3'd0, SEGMENT = 3'd1, LOADED = 3'd2, CHUNK = 3'd3, BEATS = 3'd4;
  logic [2:0] state_q;
  logic [SB:0] seg_q;
  logic [63:0] address_q;   // of the next byte
  logic [31:0] run_q;       // bytes of this segment to come
  logic [31:0] skip_q;      // writable bytes to pass over
  logic [31:0] left_q;      // bytes of the job to come
  logic [LB-1:0] place_q;   // of the next byte, in the buffer or the job's data
  logic [12:0] chunk_q;     // bytes of the chunk
  logic [12:0] issued_q;    // lanes of it that were asked for
  logic flush_q;

  logic [1:0] lead;
  logic [12:0] chunk, lanes;
  logic [31:0] run;
  assign lead = address_q[1:0];
  assign run = (run_q < left_q) ? run_q : left_q;
  assign chunk = virtio_pkg::one_tlp(address_q[11:0], run, payload_max_i);
  assign lanes = chunk_q + {11'd0, lead};

  logic room, issue, last_beat;
  assign issue = state_q == BEATS && room;
  assign last_beat = issued_q + 13'(WB) >= lanes;
  assign seg_queue_o = queue;
  assign seg_context_o = context_no;
  assign seg_index_o = seg_q[SB-1:0];
  assign buf_re_o = issue && burst;
  assign buf_at_o = place_q - LB'(lead) + LB'(issued_q);

  // A job of which nothing has to leave.
  logic nothing;
  assign nothing = (state_q == CHUNK && (left_q == '0 || flush_q)) && room;
  assign job_pop = nothing || (issue && last_beat && left_q == {19'd0, chunk_q});

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q <= IDLE;
    end else begin
      case (state_q)
        IDLE:    if (job_here) state_q <= (burst && !flush_q) ? SEGMENT : CHUNK;
        SEGMENT: state_q <= LOADED;
        LOADED:  state_q <= (skip_q < seg_bytes_i) ? CHUNK : SEGMENT;
        CHUNK: begin
          if (nothing) state_q <= IDLE;
          else if (left_q != '0 && !flush_q) state_q <= (run_q == '0) ? SEGMENT : BEATS;
        end
        default: if (issue && last_beat) state_q <= (left_q == {19'd0, chunk_q}) ? IDLE : CHUNK;
      endcase
    end
    case (state_q)
      IDLE: begin
        seg_q <= seg_first_i;
        address_q <= job_address;
        run_q <= job_bytes;
        skip_q <= job_address[31:0];
        left_q <= job_bytes;
        place_q <= burst ? {context_no[CB-1:0], {(LB - CB) {1'b0}}} : '0;
      end
      LOADED: begin
        seg_q <= seg_q + 1'b1;
        skip_q <= (skip_q < seg_bytes_i) ? '0 : skip_q - seg_bytes_i;
        address_q <= seg_address_i + {32'd0, skip_q};
        run_q <= seg_bytes_i - skip_q;
      end
      CHUNK: begin
        chunk_q <= chunk;
        issued_q <= '0;
      end
      BEATS: begin
        if (issue) issued_q <= issued_q + 13'(WB);
        if (issue && last_beat) begin
          address_q <= address_q + {51'd0, chunk_q};
          run_q <= run_q - {19'd0, chunk_q};
          left_q <= left_q - {19'd0, chunk_q};
          place_q <= place_q + LB'(chunk_q);
        end
      end
      default: ;
    endcase
  end

  // ---- A cycle later the data are there ----
  logic p_valid_q, p_first_q, p_last_q, p_end_q, p_none_q, p_burst_q;
  logic [QB-1:0] p_queue_q;
  logic [CB:0] p_release_q;
  logic [63:0] p_address_q;
  logic [12:0] p_bytes_q, p_from_q;
  logic [W-1:0] p_data_q;
  logic [W+31:0] inline_wide;
  logic [LB-1:0] inline_at;
  assign inline_at = place_q - LB'(lead) + LB'(issued_q) + LB'(4);
  assign inline_wide = {job_data, 32'd0} >> {inline_at[7:0], 3'b000};
  always_ff @(posedge clk_i) begin
    p_valid_q <= rst_ni && (issue || nothing);
    p_first_q <= issued_q == '0 || nothing;
    p_last_q <= last_beat || nothing;
    p_end_q <= job_pop;
    p_none_q <= nothing;
    p_burst_q <= burst;
    p_queue_q <= queue;
    p_release_q <= flush_q ? '0 : release_no;
    p_address_q <= address_q;
    p_bytes_q <= chunk_q;
    p_from_q <= issued_q;
    p_data_q <= inline_wide[W-1:0];
  end

  localparam int BWID = 5 + QB + (CB + 1) + 64 + 13 + 13 + W;
  logic [BWID-1:0] beat;
  logic beat_here, beat_pop;
  logic [3:0] beat_count;
  sync_fifo #(.WIDTH(BWID), .DEPTH(8)) u_beats (
    .clk_i, .rst_ni, .push_i(p_valid_q),
    .data_i({p_first_q, p_last_q, p_end_q, p_none_q, p_burst_q, p_queue_q, p_release_q, p_address_q,
             p_bytes_q, p_from_q, p_burst_q ? buf_data_i : p_data_q}),
    .pop_i(beat_pop), .valid_o(beat_here), .data_o(beat), .count_o(beat_count)
  );
  assign room = beat_count < 4'd6;

  // ---- Leaving ----
  logic b_first, b_last, b_end, b_none, b_burst;
  logic [QB-1:0] b_queue;
  logic [CB:0] b_release;
  logic [63:0] b_address;
  logic [12:0] b_bytes, b_from;
  logic [W-1:0] b_data;
  assign {b_first, b_last, b_end, b_none, b_burst, b_queue, b_release, b_address, b_bytes, b_from,
          b_data} = beat;

  logic here, started_q, discard;
  assign tx_open_o = started_q;
  assign here = bar2_i != 64'd0 && b_address >= bar2_i
                && b_address - bar2_i <= 64'(MEMORY_BYTES) - {51'd0, b_bytes};
  // After a reset only the TLP that has begun still leaves.
  assign discard = beat_here && (b_none || (flush_q && !started_q));

  logic [W-1:0] clean;
  logic [WB-1:0] mask;
  always_comb begin
    for (int i = 0; i < WB; i++) begin
      mask[i] = b_from + 13'(i) >= {11'd0, b_address[1:0]}
                && b_from + 13'(i) < {11'd0, b_address[1:0]} + b_bytes;
      clean[8*i+:8] = mask[i] ? b_data[8*i+:8] : 8'd0;
    end
  end

  assign mem_we_o = beat_here && !discard && here;
  assign mem_addr_o = M'(b_address - bar2_i - {62'd0, b_address[1:0]} + {51'd0, b_from});
  assign mem_data_o = b_data;
  assign mem_be_o = mask;

  assign tx_valid_o = beat_here && !discard && !here && b_first && !started_q && bus_master_i;
  assign tx_hdr_o = virtio_pkg::memory_header(1'b1, b_address, b_bytes, id_i, 9'd0);
  assign tx_dwords_o = virtio_pkg::run_dwords(b_address[1:0], b_bytes);
  assign tx_dvalid_o = beat_here;
  assign tx_data_o = clean;

  assign beat_pop = discard || (mem_we_o && mem_gnt_i) || tx_take_i || tx_dtake_i;

  logic [7:0] given_q, gone_q;
  assign given_o = given_q;
  assign gone_o = gone_q;
  assign idle_o = !job_here && state_q == IDLE && !p_valid_q && !beat_here;
  assign release_count_o = b_release;
  always_comb begin
    release_o = '0;
    release_o[b_queue] = beat_pop && b_end && b_release != '0 && !flush_q;
    burst_sent_o = '0;
    burst_sent_o[b_queue] = beat_pop && b_first && b_burst && !b_none && !discard;
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      started_q <= 1'b0;
      flush_q <= 1'b0;
      given_q <= '0;
      gone_q <= '0;
    end else begin
      if (abort_i) flush_q <= 1'b1;
      else if (idle_o) flush_q <= 1'b0;
      if (beat_pop && !discard) started_q <= !b_last;
      if (job_push) given_q <= given_q + 8'd1;
      if (beat_pop && b_end) gone_q <= gone_q + 8'd1;
    end
  end

  logic unused;
  assign unused = &{1'b0, seg_q[SB], inline_at, inline_wide[W+31:W]};
endmodule
