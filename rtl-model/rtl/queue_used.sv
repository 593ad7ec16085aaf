// The completion engine of a queue: payload writes, used elements, the used index, whether the driver wants an
// interrupt; as the model's ring/used.rs. Writing never waits for the suppression word.
module queue_used #(
  parameter int W = 256,
  parameter int CB = 3,         // bits of a context's number
  parameter int BATCH = 1       // elements that one write may carry, W/64 at most
) (
  input  logic         clk_i,
  input  logic         rst_ni,        // low in a device reset, too
  input  logic [15:0]  size_i,
  input  logic [63:0]  driver_i,
  input  logic [63:0]  device_i,
  input  logic         event_idx_i,
  // A request is done.
  input  logic         done_valid_i,
  output logic         done_ready_o,
  input  logic [CB:0]  done_context_i,
  input  logic [15:0]  done_head_i,
  input  logic [31:0]  done_used_i,   // bytes that count
  input  logic [31:0]  done_from_i,   // writable bytes before the data
  input  logic [31:0]  done_bytes_i,  // of data
  input  logic         more_i,        // another request is on its way here
  // What is posted.
  output logic         job_valid_o,
  input  logic         job_ready_i,
  output logic         job_burst_o,
  output logic [CB:0]  job_context_o,
  output logic [63:0]  job_address_o,
  output logic [31:0]  job_bytes_o,
  output logic [CB:0]  job_release_o,
  output logic [W-1:0] job_data_o,
  input  logic [7:0]   given_i,
  input  logic [7:0]   gone_i,
  // The read of the suppression word.
  output logic         ask_valid_o,
  output logic [63:0]  ask_address_o,
  input  logic         sent_i,
  input  logic         got_valid_i,
  input  logic [W-1:0] got_data_i,
  input  logic [1:0]   got_lead_i,
  input  logic         got_failed_i,
  output logic         fault_o,
  output logic         interrupt_o,   // one cycle
  output logic         stat_used_o    // one cycle: an index was given
);
  localparam int CONTEXTS = 1 << CB;
  localparam logic [1:0] IDLE = 2'd0, BURST = 2'd1, ELEMENTS = 2'd2, INDEX = 2'd3;

  logic [1:0] state_q;
  logic [63:0] element_q[CONTEXTS];  // head, bytes
  logic [CB-1:0] front_q, back_q;
  logic [CB:0] count_q, batch_q;
  logic [15:0] idx_q;
  logic [CB:0] context_q;
  logic [31:0] from_q, bytes_q;

  logic [15:0] slot, to_end, full;
  logic [CB:0] batch;
  assign slot = idx_q & (size_i - 16'd1);
  assign to_end = size_i - slot;
  assign full = (16'(BATCH) < to_end) ? 16'(BATCH) : to_end;
  assign batch = (16'(count_q) < full) ? count_q : (CB + 1)'(full);

  logic publish;
  assign publish = count_q != '0 && (16'(count_q) >= full || !more_i);
  assign done_ready_o = state_q == IDLE && count_q != (CB + 1)'(CONTEXTS);

  logic [W-1:0] elements;
  logic [CB-1:0] at;
  always_comb begin
    elements = '0;
    at = front_q;
    for (int e = 0; e < BATCH; e++) begin
      elements[64*e+:64] = element_q[at];
      at = at + 1'b1;
    end
  end

  logic [15:0] idx_next;
`ifdef BUG_INDEX_WRAPS_WRONG
  // Where the free-running index wraps, one is lost.
  assign idx_next = (idx_q + 16'(batch_q) < idx_q) ? idx_q + 16'(batch_q) + 16'd1 : idx_q + 16'(batch_q);
`else
  assign idx_next = idx_q + 16'(batch_q);
`endif

  logic elements_now, index_now;
`ifdef BUG_INDEX_BEFORE_ELEMENT
  assign elements_now = state_q == INDEX;
  assign index_now = state_q == ELEMENTS;
`else
  assign elements_now = state_q == ELEMENTS;
  assign index_now = state_q == INDEX;
`endif
  assign job_valid_o = state_q != IDLE;
  assign job_burst_o = state_q == BURST;
  assign job_context_o = context_q;
  assign job_address_o = job_burst_o ? {32'd0, from_q}
                         : elements_now ? device_i + virtio_pkg::VIRTQ_USED_RING + {45'd0, slot, 3'd0}
                                        : device_i + virtio_pkg::VIRTQ_USED_IDX;
  assign job_bytes_o = job_burst_o ? bytes_q : elements_now ? 32'(batch_q) << 3 : 32'd2;
  assign job_release_o = (state_q == INDEX) ? batch_q : '0;
  assign job_data_o = elements_now ? elements : W'(idx_next);
  assign stat_used_o = index_now && job_ready_i;

  // ---- Whether to interrupt ----
  logic asking_q, sent_q;
  logic [15:0] upto_q, decided_q;
  logic [7:0] fence_q;
  logic [15:0] word;
  logic wanted;
  assign ask_valid_o = asking_q && !sent_q && $signed(gone_i - fence_q) >= 0;
  assign ask_address_o = driver_i + (event_idx_i
      ? virtio_pkg::VIRTQ_AVAIL_RING + {47'd0, size_i, 1'b0} : virtio_pkg::VIRTQ_AVAIL_FLAGS);
  assign word = 16'(got_data_i >> {got_lead_i, 3'd0});
`ifdef BUG_SUPPRESSION_IGNORED
  assign wanted = 1'b1 | (|word);
`else
  assign wanted = event_idx_i ? 16'(upto_q - word - 16'd1) < 16'(upto_q - decided_q)
                              : (word & virtio_pkg::VIRTQ_AVAIL_F_NO_INTERRUPT) == 16'd0;
`endif
  assign fault_o = asking_q && got_valid_i && got_failed_i;
`ifdef BUG_INTERRUPT_BEFORE_DATA
  assign interrupt_o = done_valid_i && done_ready_o;
`else
  assign interrupt_o = asking_q && got_valid_i && !got_failed_i && wanted;
`endif

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q <= IDLE;
      front_q <= '0;
      back_q <= '0;
      count_q <= '0;
      idx_q <= '0;
      asking_q <= 1'b0;
      sent_q <= 1'b0;
      decided_q <= '0;
    end else begin
      case (state_q)
        IDLE: begin
          if (done_valid_i && done_ready_o) begin
            back_q <= back_q + 1'b1;
            count_q <= count_q + 1'b1;
            if (done_bytes_i != '0) state_q <= BURST;
          end else if (publish) begin
            state_q <= ELEMENTS;
          end
        end
        BURST:    if (job_ready_i) state_q <= IDLE;
        ELEMENTS: if (job_ready_i) state_q <= INDEX;
        default: begin
          if (job_ready_i) begin
            state_q <= IDLE;
            front_q <= front_q + batch_q[CB-1:0];
            count_q <= count_q - batch_q;
            idx_q <= idx_next;
          end
        end
      endcase

      if (!asking_q) begin
        if (idx_q != decided_q) begin
          asking_q <= 1'b1;
          sent_q <= 1'b0;
        end
      end else begin
        if (sent_i) sent_q <= 1'b1;
        if (got_valid_i) begin
          asking_q <= 1'b0;
          decided_q <= upto_q;
        end
      end
    end

    if (state_q == IDLE) begin
      context_q <= done_context_i;
      from_q <= done_from_i;
      bytes_q <= done_bytes_i;
      batch_q <= batch;
      if (done_valid_i && done_ready_o)
`ifdef BUG_USED_LENGTH
        element_q[back_q] <= {done_used_i + 32'd4, 16'd0, done_head_i};
`else
        element_q[back_q] <= {done_used_i, 16'd0, done_head_i};
`endif
    end
    if (!asking_q) begin
      upto_q <= idx_q;
      fence_q <= given_i;
    end
  end
endmodule
