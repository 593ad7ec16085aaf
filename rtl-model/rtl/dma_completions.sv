// Reads that are unanswered, one row per tag, and the answers: each is matched with its read and handed on to
// whoever asked, as bytes at a place. Answers may come in any order and in parts.
module dma_completions #(
  parameter int W = 256,
  parameter int TAGS = 16,          // a power of two, 1 to 256: reads in flight
  parameter int OWNERS = 3,
  parameter int OB = 2,             // bits of an owner's number
  parameter int CB = 3,             // bits of a context's number
  parameter int AB = 20,            // bits of a place
  parameter int TIMEOUT_CYCLES = 2500000,
  parameter int CYCLES_PER_US = 250
) (
  input  logic              clk_i,
  input  logic              rst_ni,
  input  logic              hold_i,         // another gives to the owners in this cycle
  input  logic              orphan_i,       // nobody waits any more: the device is reset
  input  logic              forget_i,       // the function is: what is unanswered was never asked
  input  logic [15:0]       id_i,
  input  logic              extended_tag_i,
  input  logic              tag_10_i,
  input  logic [4:0]        timeout_i,      // off, and the range
  input  logic [12:0]       payload_max_i,
  // A tag for a read that is about to leave.
  output logic              tag_valid_o,
  output logic [8:0]        tag_o,
  input  logic              tag_take_i,
  input  logic [OB-1:0]     owner_i,
  input  logic [CB-1:0]     context_i,
  input  logic [AB-1:0]     at_i,
  input  logic [12:0]       len_i,
  output logic              idle_o,         // nothing is unanswered
  // What is wrong with the completion that is taken, or with one that does not come.
  output logic              error_o,
  output logic [4:0]        error_bit_o,
  output logic              error_advisory_o,
  output logic              timeout_o,
  input  logic              timeout_ok_i,   // it can be taken note of
  output logic [15:0]       status_o,       // bits of Status: a read of the card's was refused
  // A completion, from tlp_rx.
  input  logic              hdr_valid_i,
  input  logic [127:0]      hdr_i,
  input  logic              hdr_has_data_i,
  output logic              hdr_take_o,
  input  logic              dat_valid_i,
  input  logic [W-1:0]      dat_i,
  input  logic              dat_last_i,
  output logic              dat_take_o,
  // What came, for its owner.
  output logic              got_valid_o,
  output logic [OWNERS-1:0] got_owner_o,
  output logic [CB-1:0]     got_context_o,
  output logic [AB-1:0]     got_at_o,       // of lane 0
  output logic [W-1:0]      got_data_o,
  output logic [W/8-1:0]    got_be_o,
  output logic [12:0]       got_bytes_o,    // that are not missing any more
  output logic [1:0]        got_lead_o,     // lanes of the first beat before the first byte
  output logic              got_failed_o
);
  localparam int WB = W / 8;
  localparam int T = (TAGS > 1) ? $clog2(TAGS) : 1;

  logic [TAGS-1:0] busy_q, orphan_q, forgotten_q, long_q;
  logic [OB-1:0] owner_q[TAGS];
  logic [CB-1:0] context_q[TAGS];
  logic [AB-1:0] at_q[TAGS];
  logic [12:0] left_q[TAGS];
  logic [31:0] stamp_q[TAGS];
  // Time in 16 cycles: a card's timer is coarse.
  logic [35:0] now_q;

  // Free tags, used in turn, so that a late answer meets a free tag rather than a new read.
  logic free_valid, free_push, rotate;
  logic [T-1:0] free_tag, back_tag;
  logic [T:0] fill_q;
  logic filling;
  logic release_now;
  logic [T-1:0] release_tag;
  assign filling = fill_q != (T + 1)'(TAGS);
  // Without extended tags only five bits may be used: longer ones go round.
  logic any_tag;
  assign any_tag = extended_tag_i || tag_10_i || {8'd0, free_tag} < (T + 8)'(32);
  assign rotate = free_valid && !any_tag && !release_now;
  assign tag_valid_o = free_valid && !filling && any_tag;
  // Of 10 bits only tags that cannot be taken for shorter ones. PCIe 5.0 section 2.2.6.2.
  assign tag_o = {tag_10_i, 8'(free_tag)};
  assign free_push = filling || rotate || release_now;
  assign back_tag = filling ? T'(fill_q) : release_now ? release_tag : free_tag;
  logic [T:0] free_count;
  if (TAGS > 1) begin : g_fifo
    sync_fifo #(.WIDTH(T), .DEPTH(TAGS)) u_free (
      .clk_i, .rst_ni, .push_i(free_push), .data_i(back_tag), .pop_i(tag_take_i || rotate),
      .valid_o(free_valid), .data_o(free_tag), .count_o(free_count)
    );
  end else begin : g_one
    assign free_valid = !busy_q[0];
    assign free_tag = '0;
    assign free_count = '0;
  end

  // The completion in hand.
  logic hdr_valid, dat_valid;
  assign hdr_valid = hdr_valid_i && !hold_i;
  assign dat_valid = dat_valid_i && !hold_i;
  logic [7:0] tag8;
  logic [T-1:0] tag, tag_now;
  logic [2:0] status;
  logic [12:0] count, room, len;
  logic [10:0] length;
  logic [1:0] lead;
  logic known, fits, good, refused, poisoned, spoiled, failed, too_long;
  assign tag8 = hdr_i[87:80];
  assign tag = tag8[T-1:0];
  assign status = hdr_i[55:53];
  assign count = {hdr_i[51:48] == 4'd0 && hdr_i[63:56] == 8'd0, hdr_i[51:48], hdr_i[63:56]};
  assign length = {hdr_i[17:16] == 2'd0 && hdr_i[31:24] == 8'd0, hdr_i[17:16], hdr_i[31:24]};
  assign lead = hdr_i[89:88];
  assign room = {length, 2'b00} - {11'd0, lead};
  assign len = (count < room) ? count : room;
  assign known = {8'd0, tag8} < 16'(TAGS) && !hdr_i[15] && hdr_i[11] == long_q[tag]
                 && {hdr_i[71:64], hdr_i[79:72]} == id_i && busy_q[tag];
  assign poisoned = hdr_i[22];
  assign too_long = hdr_has_data_i && {length, 2'b00} > payload_max_i && !poisoned;
`ifdef BUG_COMPLETION_STATUS_IGNORED
  assign refused = 1'b0;
`else
  assign refused = known && !too_long && status != virtio_pkg::TLP_STATUS_SUCCESS;
`endif
  assign fits = known && !too_long && !refused && hdr_has_data_i && count == left_q[tag] && len != '0;
  assign good = fits && !poisoned;
  // EP: the read has failed; what of its answer is still to come is dropped.
  assign spoiled = fits && poisoned;
  assign failed = refused || spoiled;
  logic waited, give_up, bare;
  assign waited = !orphan_q[tag] && !orphan_i;
  assign error_o = hdr_take_o && (poisoned || too_long || !(refused || fits || bare));
  assign error_bit_o = poisoned ? virtio_pkg::AER_ERROR_POISONED
                       : too_long ? virtio_pkg::AER_ERROR_MALFORMED : virtio_pkg::AER_ERROR_UNEXPECTED;
  assign error_advisory_o = !poisoned && !too_long;
  assign status_o = !(hdr_take_o && refused && !poisoned && waited) ? '0
                    : (status == virtio_pkg::TLP_STATUS_ABORT) ? virtio_pkg::PCI_STATUS_RECEIVED_TARGET_ABORT
                                                               : virtio_pkg::PCI_STATUS_RECEIVED_MASTER_ABORT;

  localparam logic [1:0] IDLE = 2'd0, DATA = 2'd1, DROP = 2'd2;
  logic [1:0] state_q;
  logic [OB-1:0] o_q;
  logic [CB-1:0] c_q;
  logic [AB-1:0] a_q;
  logic [12:0] n_q;
  logic [1:0] lead_q;
  logic [T-1:0] tag_q;
  logic first_q, dead_q, ends_q;

  // Timeouts: one tag a cycle is looked at while no completion is in hand.
  logic [T-1:0] scan_q;
  logic late;
  logic [31:0] patience;
  assign late = state_q == IDLE && !hdr_valid_i && !hold_i && timeout_ok_i && busy_q[scan_q]
                && !timeout_i[4] && now_q[35:4] - stamp_q[scan_q] > patience;
  // What nobody waits for is not missed.
  assign timeout_o = late && !orphan_q[scan_q] && !orphan_i;
  // The middle of the range that software has set. PCIe 5.0 section 7.5.3.16.
  function automatic logic [31:0] ticks(input longint us);
    ticks = 32'(us * 64'(CYCLES_PER_US) / 64'd16);
  endfunction
  always_comb begin
    case (timeout_i[3:0])
      4'b0000: patience = 32'(TIMEOUT_CYCLES / 16);
      4'b0001: patience = ticks(64'd75);
      4'b0010: patience = ticks(64'd5500);
      4'b0101: patience = ticks(64'd35500);
      4'b0110: patience = ticks(64'd137500);
      4'b1001: patience = ticks(64'd580000);
      4'b1010: patience = ticks(64'd2250000);
      4'b1101: patience = ticks(64'd8500000);
      4'b1110: patience = ticks(64'd40500000);
      default: patience = ticks(64'd25025);
    endcase
  end

  assign hdr_take_o = state_q == IDLE && hdr_valid;
  assign dat_take_o = state_q != IDLE && dat_valid;
  assign tag_now = (state_q == IDLE) ? (hdr_valid ? tag : scan_q) : tag_q;

  logic [12:0] in_beat;
  assign in_beat = 13'(WB) - (first_q ? {11'd0, lead_q} : 13'd0);
  assign give_up = (hdr_take_o && failed) || late;
`ifdef BUG_COMPLETION_STATUS_IGNORED
  assign bare = hdr_take_o && known && !hdr_has_data_i;
`else
  assign bare = 1'b0;
`endif
  assign got_valid_o = (state_q == DATA && dat_valid && !dead_q)
                       || ((give_up || bare) && !orphan_q[tag_now] && !orphan_i);
  assign got_context_o = (state_q == DATA) ? c_q : context_q[tag_now];
  always_comb begin
    got_owner_o = '0;
    got_owner_o[(state_q == DATA) ? o_q : owner_q[tag_now]] = 1'b1;
  end
  assign got_at_o = (first_q) ? a_q - AB'(lead_q) : a_q;
  assign got_data_o = dat_i;
  assign got_bytes_o = (state_q == DATA) ? ((n_q < in_beat) ? n_q : in_beat) : left_q[tag_now];
  assign got_lead_o = lead_q;
  assign got_failed_o = state_q != DATA && !bare;
  always_comb begin
    for (int b = 0; b < WB; b++)
      got_be_o[b] = state_q == DATA && !(first_q && 13'(b) < {11'd0, lead_q})
                    && 13'(b) < n_q + (first_q ? {11'd0, lead_q} : 13'd0);
  end

  logic data_end;
  assign data_end = state_q == DATA && dat_valid && dat_last_i;
  // Of a spoiled read that goes on the tag stays in use.
  assign release_now = (give_up && !(spoiled && len != left_q[tag])) || bare || (data_end && ends_q);
  assign release_tag = tag_now;

  logic [T:0] in_flight_q;
  assign idle_o = in_flight_q == '0;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q <= IDLE;
      busy_q <= '0;
      orphan_q <= '0;
      forgotten_q <= '0;
      fill_q <= '0;
      scan_q <= '0;
      now_q <= '0;
      in_flight_q <= '0;
    end else begin
      now_q <= now_q + 36'd1;
      if (filling) fill_q <= fill_q + 1'b1;
      scan_q <= (scan_q == T'(TAGS - 1)) ? '0 : scan_q + 1'b1;
      if (forget_i) begin
        in_flight_q <= '0;
        forgotten_q <= busy_q;
      end else begin
        in_flight_q <= in_flight_q + (T + 1)'(tag_take_i) - (T + 1)'(release_now && !forgotten_q[release_tag]);
      end
      if (orphan_i) orphan_q <= busy_q;
      if (hdr_take_o && spoiled) orphan_q[tag] <= 1'b1;
      if (release_now) begin
        busy_q[release_tag] <= 1'b0;
        orphan_q[release_tag] <= 1'b0;
        forgotten_q[release_tag] <= 1'b0;
      end
      if (tag_take_i) begin
        busy_q[free_tag] <= 1'b1;
        long_q[free_tag] <= tag_10_i;
      end
      case (state_q)
        IDLE:
          if (hdr_take_o && hdr_has_data_i) state_q <= good ? DATA : DROP;
        default: if (dat_valid && dat_last_i) state_q <= IDLE;
      endcase
    end
    if (tag_take_i) begin
      owner_q[free_tag] <= owner_i;
      context_q[free_tag] <= context_i;
      stamp_q[free_tag] <= now_q[35:4];
    end
    // A tag that is free is not the one that is answered: both rows may change in one cycle.
    if (tag_take_i) at_q[free_tag] <= at_i;
    if (tag_take_i) left_q[free_tag] <= len_i;
`ifndef BUG_PART_PLACED_FIRST
    if (hdr_take_o && good) at_q[tag] <= at_q[tag] + AB'(len);
`endif
    if (hdr_take_o && fits) left_q[tag] <= left_q[tag] - len;

    if (state_q == IDLE) begin
      o_q <= owner_q[tag];
      c_q <= context_q[tag];
      a_q <= at_q[tag];
      n_q <= len;
      lead_q <= lead;
      tag_q <= tag;
      first_q <= 1'b1;
      dead_q <= orphan_q[tag] || orphan_i;
`ifdef BUG_TAG_REUSED_EARLY
      ends_q <= len != 13'd0;
`else
      ends_q <= len == left_q[tag];
`endif
    end else if (dat_valid) begin
      first_q <= 1'b0;
      a_q <= got_at_o + AB'(WB);
      n_q <= n_q - got_bytes_o;
      if (orphan_i) dead_q <= 1'b1;
    end
  end

  logic unused;
  assign unused = &{1'b0, hdr_i, free_count, free_push, back_tag};
endmodule
