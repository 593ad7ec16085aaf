// A little virtio disk that owes nothing to the reference card: one clocked process for what comes, one for
// the queue, a byte a cycle. One queue of direct chains, one read under way, rings in host memory.
//
// A TLP is a packet on a 64-bit stream that ends with `last`; nothing marks its first word or its last
// byte, as both follow from the packet itself.
module tiny_disk #(
  parameter int SECTORS = 2048
) (
  input  wire         clock,
  input  wire         reset,
  input  wire  [63:0] from_host_word,
  input  wire         from_host_there,
  input  wire         from_host_last,
  output wire         from_host_taken,
  output wire  [63:0] to_host_word,
  output wire         to_host_there,
  output wire         to_host_last,
  input  wire         to_host_taken,
  output reg          busy_led
);
  localparam int DISK_BITS = $clog2(SECTORS) + 9;
  localparam [15:0] QUEUE_MAX = 16'd64;
  // VIRTIO_F_VERSION_1 and VIRTIO_F_ACCESS_PLATFORM.
  localparam [63:0] OFFERED = 64'h0000_0003_0000_0000;
  localparam [15:0] NO_VECTOR = 16'hffff;

  // ---- A packet comes: its doublewords are collected, low one first, bytes as they are on the wire ----
  reg [31:0] in_dw[0:35];
  reg [5:0]  in_count;
  reg        in_whole;
  wire       in_done;
  assign from_host_taken = !in_whole;
  always @(posedge clock) begin
    if (reset) begin
      in_count <= 0;
      in_whole <= 0;
    end else if (in_done) begin
      in_count <= 0;
      in_whole <= 0;
    end else if (from_host_there && from_host_taken) begin
      if (in_count < 36) begin
        in_dw[in_count] <= from_host_word[31:0];
        in_dw[in_count + 1] <= from_host_word[63:32];
        in_count <= in_count + 6'd2;
      end
      in_whole <= from_host_last;
    end
  end

  function automatic [31:0] swap(input [31:0] dw);
    swap = {dw[7:0], dw[15:8], dw[23:16], dw[31:24]};
  endfunction

  // Header fields, most significant byte first as the specification draws them.
  wire [31:0] h0 = swap(in_dw[0]);
  wire [31:0] h1 = swap(in_dw[1]);
  wire [31:0] h2 = swap(in_dw[2]);
  wire [31:0] h3 = swap(in_dw[3]);
  wire        four = h0[29];
  wire        is_memory = h0[28:24] == 5'b00000;
  wire        is_config = h0[28:24] == 5'b00100;
  wire        is_answer = h0[28:24] == 5'b01010;
  wire        with_data = h0[30];
  wire [63:0] to_address = four ? {h2, h3[31:2], 2'b00} : {32'd0, h2[31:2], 2'b00};
  wire [5:0]  data_at = four ? 6'd4 : 6'd3;
  wire [3:0]  first_be = h1[3:0];
  wire [3:0]  last_be = h1[7:4];
  wire [9:0]  length_dw = h0[9:0];

  // ---- Registers ----
  reg [2:0]  command;
  reg        no_intx;
  reg [51:0] bar;
  reg [15:0] identity;
  reg [15:0] device_control;
  reg [4:0]  device_control_2;
  reg        msix_on, msix_masked;
  reg [1:0]  power;
  reg [7:0]  window_bar;
  reg [31:0] window_offset, window_length;

  reg [31:0] feature_select, guest_select;
  reg [63:0] guest_features;
  reg [7:0]  status;
  reg [15:0] config_vector, queue_select, queue_size, queue_vector;
  reg        queue_on, doorbell, isr_queue;
  reg [63:0] desc_at, avail_at, used_at;
  reg [95:0] vector_entry[0:1];
  reg [1:0]  vector_masked, vector_pending;
  wire       memory_on = command[1];
  wire       master_on = command[2];
  wire       msix_fire_0;
  wire       msix_fire_1;

  function automatic [31:0] virtio_cap(input [7:0] next, input [7:0] len, input [7:0] kind);
    virtio_cap = {kind, len, next, 8'h09};
  endfunction

  function automatic [31:0] config_at(input [5:0] dw);
    case (dw)
      6'h00: config_at = 32'h1042_1af4;
      6'h01: config_at = {16'h0010, 5'd0, no_intx, 7'd0, command};
      6'h02: config_at = 32'h0180_0001;
      6'h04: config_at = {bar[19:0], 12'h004};
      6'h05: config_at = bar[51:20];
      6'h0b: config_at = 32'h0042_1af4;
      6'h0d: config_at = 32'h0000_0040;
      6'h10: config_at = 32'h0002_8010;
      6'h11: config_at = 32'h0000_8000;
      6'h12: config_at = {16'h0000, device_control};
      6'h13: config_at = 32'h0000_0043;
      6'h14: config_at = 32'h0043_0000;
      6'h19: config_at = 32'h0000_0010;
      6'h1a: config_at = {27'd0, device_control_2};
      6'h1b: config_at = 32'h0000_000e;
      6'h1c: config_at = 32'h0000_0003;
      6'h20: config_at = {msix_on, msix_masked, 14'd1, 16'h9011};
      6'h21: config_at = 32'h0000_0400;
      6'h22: config_at = 32'h0000_0500;
      6'h24: config_at = virtio_cap(8'ha0, 8'd16, 8'd1);
      6'h27: config_at = 32'd64;
      6'h28: config_at = virtio_cap(8'hb4, 8'd20, 8'd2);
      6'h2a: config_at = 32'h300;
      6'h2b: config_at = 32'd4;
      6'h2d: config_at = virtio_cap(8'hc4, 8'd16, 8'd3);
      6'h2f: config_at = 32'h100;
      6'h30: config_at = 32'd4;
      6'h31: config_at = virtio_cap(8'hd4, 8'd16, 8'd4);
      6'h33: config_at = 32'h200;
      6'h34: config_at = 32'd8;
      6'h35: config_at = virtio_cap(8'he8, 8'd20, 8'd5);
      6'h36: config_at = {24'd0, window_bar};
      6'h37: config_at = window_offset;
      6'h38: config_at = window_length;
      6'h39: config_at = register_at(window_offset[11:2]) >> {window_offset[1:0], 3'd0};
      6'h3a: config_at = 32'h0003_0001;
      6'h3b: config_at = {30'd0, power};
      default: config_at = 32'd0;
    endcase
  endfunction

  // Everything behind the BAR, by doubleword.
  function automatic [31:0] register_at(input [9:0] dw);
    case (dw)
      10'h000: register_at = feature_select;
      10'h001: register_at = feature_select == 0 ? OFFERED[31:0] : feature_select == 1 ? OFFERED[63:32] : 0;
      10'h002: register_at = guest_select;
      10'h003: register_at = guest_select == 0 ? guest_features[31:0]
                           : guest_select == 1 ? guest_features[63:32] : 0;
      10'h004: register_at = {16'd1, config_vector};
      10'h005: register_at = {queue_select, 8'd0, status};
      10'h006: register_at = queue_select == 0 ? {queue_vector, queue_size} : {NO_VECTOR, 16'd0};
      10'h007: register_at = {16'd0, 15'd0, queue_on && queue_select == 0};
      10'h008: register_at = queue_select == 0 ? desc_at[31:0] : 0;
      10'h009: register_at = queue_select == 0 ? desc_at[63:32] : 0;
      10'h00a: register_at = queue_select == 0 ? avail_at[31:0] : 0;
      10'h00b: register_at = queue_select == 0 ? avail_at[63:32] : 0;
      10'h00c: register_at = queue_select == 0 ? used_at[31:0] : 0;
      10'h00d: register_at = queue_select == 0 ? used_at[63:32] : 0;
      10'h040: register_at = {31'd0, isr_queue};
      10'h080: register_at = SECTORS;
      10'h100: register_at = vector_entry[0][31:0];
      10'h101: register_at = vector_entry[0][63:32];
      10'h102: register_at = vector_entry[0][95:64];
      10'h103: register_at = {31'd0, vector_masked[0]};
      10'h104: register_at = vector_entry[1][31:0];
      10'h105: register_at = vector_entry[1][63:32];
      10'h106: register_at = vector_entry[1][95:64];
      10'h107: register_at = {31'd0, vector_masked[1]};
      10'h140: register_at = {30'd0, vector_pending};
      default: register_at = 32'd0;
    endcase
  endfunction

  function automatic [31:0] merged(input [31:0] old, input [31:0] dw, input [3:0] be);
    merged = {be[3] ? dw[31:24] : old[31:24], be[2] ? dw[23:16] : old[23:16],
              be[1] ? dw[15:8] : old[15:8], be[0] ? dw[7:0] : old[7:0]};
  endfunction

  // ---- What came is done, a doubleword a cycle ----
  localparam [1:0] LOOK = 2'd0, WALK = 2'd1, ANSWER = 2'd2;
  reg [1:0]  target;
  reg [9:0]  step;
  reg        hit;
  wire [3:0] be_now = step == 0 ? first_be : step == length_dw - 1 ? last_be : 4'hf;
  wire [9:0] register_now = to_address[11:2] + step;
  wire [31:0] data_now = in_dw[data_at + step[5:0]];
  wire       answer_there = is_answer && in_whole && target == LOOK;
  wire       answer_taken;
  wire       wants_answer = is_config || (is_memory && !with_data);
  reg [31:0] answer_dw[0:15];

  reg        out_answer;
  wire       out_answer_done;
  assign in_done = in_whole
      && ((target == LOOK && is_answer && answer_taken)
          || (target == LOOK && !is_answer && !is_memory && !is_config)
          || (target == WALK && step == length_dw - 1 && !wants_answer)
          || (target == ANSWER && out_answer_done));

  wire       stopped;
  reg        reset_asked;

  // A register behind the BAR is written.
  task automatic write_register(input [9:0] dw, input [31:0] data, input [3:0] be);
    case (dw)
      10'h000: feature_select <= merged(feature_select, data, be);
      10'h002: guest_select <= merged(guest_select, data, be);
      10'h003: begin
        if (guest_select == 0) guest_features[31:0] <= merged(guest_features[31:0], data, be);
        if (guest_select == 1) guest_features[63:32] <= merged(guest_features[63:32], data, be);
      end
      10'h004: if (be[0]) config_vector <= data[15:0] > 1 ? NO_VECTOR : data[15:0];
      10'h005: begin
        if (be[0]) begin
          if (data[7:0] == 0) reset_asked <= 1;
          // FEATURES_OK stays 0 for a set of features that this card cannot work with.
          else status <= (status | data[7:0])
              & (data[3] && (!guest_features[32] || |(guest_features & ~OFFERED)) ? 8'hf7 : 8'hff);
        end
        if (be[2]) queue_select <= data[31:16];
      end
      10'h006: if (queue_select == 0) begin
        if (be[0]) queue_size <= data[15:0];
        if (be[2]) queue_vector <= data[31:16] > 1 ? NO_VECTOR : data[31:16];
      end
      10'h007: if (queue_select == 0 && be[0] && data[0]) queue_on <= 1;
      10'h008: if (queue_select == 0) desc_at[31:0] <= merged(desc_at[31:0], data, be);
      10'h009: if (queue_select == 0) desc_at[63:32] <= merged(desc_at[63:32], data, be);
      10'h00a: if (queue_select == 0) avail_at[31:0] <= merged(avail_at[31:0], data, be);
      10'h00b: if (queue_select == 0) avail_at[63:32] <= merged(avail_at[63:32], data, be);
      10'h00c: if (queue_select == 0) used_at[31:0] <= merged(used_at[31:0], data, be);
      10'h00d: if (queue_select == 0) used_at[63:32] <= merged(used_at[63:32], data, be);
      10'h0c0: if (be[0] && data[15:0] == 0 && status[2]) doorbell <= 1;
      10'h100, 10'h104: vector_entry[dw[2]][31:0] <= merged(vector_entry[dw[2]][31:0], data, be);
      10'h101, 10'h105: vector_entry[dw[2]][63:32] <= merged(vector_entry[dw[2]][63:32], data, be);
      10'h102, 10'h106: vector_entry[dw[2]][95:64] <= merged(vector_entry[dw[2]][95:64], data, be);
      10'h103, 10'h107: if (be[0]) vector_masked[dw[2]] <= data[0];
      default: ;
    endcase
  endtask

  task automatic write_config(input [5:0] dw, input [31:0] data, input [3:0] be);
    case (dw)
      6'h01: begin
        if (be[0]) command <= {data[2:1], 1'b0};
        if (be[1]) no_intx <= data[10];
      end
      6'h04: begin
        if (be[1]) bar[3:0] <= data[15:12];
        if (be[2]) bar[11:4] <= data[23:16];
        if (be[3]) bar[19:12] <= data[31:24];
      end
      6'h05: bar[51:20] <= merged(bar[51:20], data, be);
      6'h12: begin
        if (be[0]) device_control[7:0] <= data[7:0];
        if (be[1]) device_control[15:8] <= {1'b0, data[14:8]};
      end
      6'h1a: if (be[0]) device_control_2 <= data[4:0];
      6'h20: if (be[3]) {msix_on, msix_masked} <= data[31:30];
      6'h36: if (be[0]) window_bar <= data[7:0];
      6'h37: window_offset <= merged(window_offset, data, be);
      6'h38: window_length <= merged(window_length, data, be);
      6'h39: if (window_bar == 0 && memory_on)
        write_register(window_offset[11:2], data << {window_offset[1:0], 3'd0},
                       (window_length == 1 ? 4'h1 : window_length == 2 ? 4'h3 : 4'hf) << window_offset[1:0]);
      6'h3b: if (be[0]) power <= data[1:0];
      default: ;
    endcase
  endtask

  integer i;
  always @(posedge clock) begin
    if (reset) begin
      target <= LOOK;
      step <= 0;
      hit <= 0;
      out_answer <= 0;
      command <= 0;
      no_intx <= 0;
      bar <= 0;
      identity <= 0;
      device_control <= 16'h2810;
      device_control_2 <= 0;
      msix_on <= 0;
      msix_masked <= 0;
      power <= 0;
      window_bar <= 0;
      window_offset <= 0;
      window_length <= 0;
      vector_masked <= 2'b11;
      vector_pending <= 0;
      reset_asked <= 1;
      for (i = 0; i < 2; i = i + 1) vector_entry[i] <= 0;
    end else begin
      if (engine_done) isr_queue <= 1;
      if (engine_rings) doorbell <= 0;
      if (fault) status[6] <= 1;
      if (msix_hold) vector_pending[queue_vector[0]] <= 1;
      if (msix_fire_0) vector_pending[0] <= 0;
      if (msix_fire_1) vector_pending[1] <= 0;
      case (target)
        LOOK: if (in_whole && !is_answer && (is_memory || is_config)) begin
          step <= 0;
          target <= WALK;
          hit <= is_config ? h2[18:16] == 0
                           : memory_on && power == 0 && to_address[63:12] == bar && length_dw != 0 && length_dw <= 16;
          if (is_config && with_data) identity <= h2[31:16];
        end
        WALK: begin
          answer_dw[step[3:0]] <= !is_config ? register_at(register_now) : h2[11:8] == 0 ? config_at(h2[7:2]) : 0;
          if (hit && is_config && with_data && h2[11:8] == 0) write_config(h2[7:2], data_now, be_now);
          if (hit && is_memory && with_data) write_register(register_now, data_now, be_now);
          // Reading the ISR clears it.
          if (hit && is_memory && !with_data && register_now == 10'h040 && be_now[0]) isr_queue <= 0;
          step <= step + 10'd1;
          if (step == length_dw - 1 || !hit) begin
            target <= wants_answer ? ANSWER : (step == length_dw - 1) ? LOOK : WALK;
            out_answer <= wants_answer;
          end
        end
        default: if (out_answer_done) begin
          target <= LOOK;
          out_answer <= 0;
        end
      endcase
      if (reset_asked && stopped) begin
        reset_asked <= 0;
        status <= 0;
        feature_select <= 0;
        guest_select <= 0;
        guest_features <= 0;
        config_vector <= NO_VECTOR;
        queue_select <= 0;
        queue_size <= QUEUE_MAX;
        queue_vector <= NO_VECTOR;
        queue_on <= 0;
        doorbell <= 0;
        isr_queue <= 0;
        desc_at <= 0;
        avail_at <= 0;
        used_at <= 0;
      end
    end
  end

  // ---- The queue, one request after the other, one access to memory after the other ----
  localparam [3:0] IDLE = 0, INDEX = 1, ENTRY = 2, CHAIN = 3, STEP = 4, TAKE = 5, FILL = 6, WRITE = 7,
                   USED_ID = 8, USED_LEN = 9, USED_INDEX = 10, FLAGS = 11, INTERRUPT = 12, BROKEN = 13;
  reg [3:0]  engine;
  reg        asked;
  reg [15:0] seen_index, next_entry, used_index, head, desc_next;
  reg [6:0]  chain_left;
  reg        desc_more, desc_write;
  reg [63:0] at;
  reg [31:0] left, written;
  reg [4:0]  header_bytes;
  reg [7:0]  header[0:15];
  reg [31:0] moved;
  reg [7:0]  verdict;
  reg [7:0]  disk[0:(1 << DISK_BITS) - 1];
  reg [7:0]  piece[0:63];
  reg [6:0]  piece_bytes, piece_at;
  // What the disk is called: eight letters, and zeroes up to the 20 bytes of the field.
  localparam [63:0] NAME = "ksidynit";
  wire [7:0] id_byte = moved < 8 ? NAME[{moved[2:0], 3'd0} +: 8] : 8'd0;
  reg        fault;
  reg        engine_done, engine_rings, msix_hold;

  wire [31:0] kind = {header[3], header[2], header[1], header[0]};
  wire [63:0] sector = {header[15], header[14], header[13], header[12],
                        header[11], header[10], header[9], header[8]};
  // Up to the next 64-byte boundary: such a read is answered by one completion, and crosses no page.
  wire [6:0]  to_boundary = 7'd64 - {1'b0, at[5:0]};
  wire [6:0]  take = left < {25'd0, to_boundary} ? left[6:0] : to_boundary;
  // The place of the next data byte on the disk.
  wire [63:0] disk_at = {sector[54:0], 9'd0} + {32'd0, moved};
  wire        on_disk = sector[63:55] == 0 && disk_at < (64'd1 << DISK_BITS);
  wire        last_byte = !desc_more && left == {25'd0, piece_at} + 1;

  // One request of the engine at a time goes out.
  reg         out_engine, out_write;
  reg  [63:0] out_at;
  reg  [6:0]  out_bytes;
  reg  [31:0] out_word;
  reg         out_small;
  wire        out_engine_done;
  // Its answer.
  wire [6:0]  came_at = {5'd0, out_at[1:0]};
  wire        good = h1[15:13] == 3'b000 && with_data;
  assign answer_taken = engine != TAKE || !asked ? 1'b1 : piece_at == piece_bytes;
  wire [6:0]  came_now = came_at + piece_at;
  wire [5:0]  came_dw = 6'd3 + {1'b0, came_now[6:2]};
  wire [7:0]  came_byte = in_dw[came_dw][{came_now[1:0], 3'd0} +: 8];
  wire [15:0] came_half = out_at[1] ? in_dw[3][31:16] : in_dw[3][15:0];
  assign stopped = engine == IDLE || engine == BROKEN;
  wire [63:0] entry_at = avail_at + 64'd4 + {47'd0, next_entry & (queue_size - 16'd1), 1'b0};
  wire [63:0] element_at = used_at + 64'd4 + {45'd0, used_index & (queue_size - 16'd1), 3'd0};

  task automatic ask(input [63:0] where_, input [6:0] bytes);
    out_engine <= 1;
    out_write <= 0;
    out_at <= where_;
    out_bytes <= bytes;
    asked <= 1;
  endtask

  task automatic put(input [63:0] where_, input [6:0] bytes, input [31:0] data);
    out_engine <= 1;
    out_write <= 1;
    out_small <= 1;
    out_at <= where_;
    out_bytes <= bytes;
    out_word <= data;
    asked <= 1;
  endtask

  // A byte of a chain that the device may read: first the header, then what is to be written.
  task automatic take_byte(input [7:0] value);
    if (header_bytes < 16) begin
      header[header_bytes[3:0]] <= value;
      header_bytes <= header_bytes + 5'd1;
    end else begin
      if (kind == 1 && on_disk) disk[disk_at[DISK_BITS-1:0]] <= value;
      if (kind == 1 && !on_disk) verdict <= 1;
      moved <= moved + 1;
    end
  endtask

  always @(posedge clock) begin
    engine_done <= 0;
    engine_rings <= 0;
    msix_hold <= 0;
    busy_led <= engine != IDLE;
    if (reset) begin
      engine <= IDLE;
      asked <= 0;
      out_engine <= 0;
      out_small <= 0;
      out_write <= 0;
      next_entry <= 0;
      used_index <= 0;
      seen_index <= 0;
      fault <= 0;
    end else begin
      if (out_engine && out_engine_done) begin
        out_engine <= 0;
        if (out_write) begin
          asked <= 0;
          out_small <= 0;
        end
      end
      case (engine)
        IDLE: begin
          fault <= 0;
          if (reset_asked) begin
            next_entry <= 0;
            used_index <= 0;
            seen_index <= 0;
          end else if (queue_on && status[2] && master_on && power == 0) begin
            if (seen_index != next_entry) begin
              ask(entry_at, 7'd2);
              engine <= ENTRY;
            end else if (doorbell) begin
              engine_rings <= 1;
              ask(avail_at + 64'd2, 7'd2);
              engine <= INDEX;
            end
          end
        end
        INDEX: if (answer_there) begin
          asked <= 0;
          seen_index <= came_half;
          engine <= good ? IDLE : BROKEN;
        end
        ENTRY: if (answer_there) begin
          asked <= 0;
          head <= came_half;
          desc_next <= came_half;
          chain_left <= 7'd64;
          header_bytes <= 0;
          written <= 0;
          verdict <= 0;
          moved <= 0;
          next_entry <= next_entry + 16'd1;
          engine <= good ? CHAIN : BROKEN;
        end
        CHAIN: if (!asked) begin
          if (desc_next >= queue_size || chain_left == 0) engine <= BROKEN;
          else ask(desc_at + {44'd0, desc_next, 4'd0}, 7'd16);
        end else if (answer_there) begin
          asked <= 0;
          chain_left <= chain_left - 7'd1;
          at <= {in_dw[4], in_dw[3]};
          left <= in_dw[5];
          desc_more <= in_dw[6][0];
          desc_write <= in_dw[6][1];
          desc_next <= in_dw[6][31:16];
          engine <= !good || in_dw[6][2] ? BROKEN : STEP;
        end
        STEP: begin
          piece_at <= 0;
          piece_bytes <= take;
          if (left == 0) begin
            if (desc_more) engine <= CHAIN;
            else engine <= desc_write ? USED_ID : BROKEN;
          end else if (!desc_write) begin
            ask(at, take);
            engine <= TAKE;
          end else begin
            engine <= header_bytes == 16 ? FILL : BROKEN;
          end
        end
        TAKE: if (answer_there) begin
          if (!good) begin
            asked <= 0;
            engine <= BROKEN;
          end else if (piece_at != piece_bytes) begin
            take_byte(came_byte);
            piece_at <= piece_at + 7'd1;
          end else begin
            asked <= 0;
            at <= at + {57'd0, piece_bytes};
            left <= left - {25'd0, piece_bytes};
            engine <= STEP;
          end
        end
        // A byte that the device may write: data, and in the end the verdict.
        FILL: begin
          piece[piece_at[5:0]] <= last_byte ? verdict_now : kind == 8 ? id_byte : disk[disk_at[DISK_BITS-1:0]];
          if (!last_byte) begin
            if (!on_disk && kind == 0) verdict <= 1;
            moved <= moved + 1;
          end
          piece_at <= piece_at + 7'd1;
          if (piece_at == piece_bytes - 7'd1) engine <= WRITE;
        end
        WRITE: if (!asked) begin
          out_engine <= 1;
          out_write <= 1;
          out_at <= at;
          out_bytes <= piece_bytes;
          asked <= 1;
          written <= written + {25'd0, piece_bytes};
        end else if (out_engine && out_engine_done) begin
          at <= at + {57'd0, piece_bytes};
          left <= left - {25'd0, piece_bytes};
          engine <= STEP;
        end
        USED_ID: if (!asked) put(element_at, 7'd4, {16'd0, head});
          else if (out_engine && out_engine_done) engine <= USED_LEN;
        USED_LEN: if (!asked) put(element_at + 64'd4, 7'd4, written);
          else if (out_engine && out_engine_done) begin
            used_index <= used_index + 16'd1;
            engine <= USED_INDEX;
          end
        USED_INDEX: if (!asked) put(used_at + 64'd2, 7'd2, {used_index, 16'd0});
          else if (out_engine && out_engine_done) engine <= FLAGS;
        FLAGS: if (!asked) ask(avail_at, 7'd2);
          else if (answer_there) begin
            asked <= 0;
            engine_done <= 1;
            engine <= !good ? BROKEN : came_half[0] || queue_vector == NO_VECTOR || !msix_on ? IDLE : INTERRUPT;
          end
        INTERRUPT: if (!asked) begin
          if (msix_masked || vector_masked[queue_vector[0]]) begin
            msix_hold <= 1;
            engine <= IDLE;
          end else put(vector_entry[queue_vector[0]][63:0], 7'd4, vector_entry[queue_vector[0]][95:64]);
        end else if (out_engine && out_engine_done) engine <= IDLE;
        default: begin
          fault <= 1;
          if (reset_asked) engine <= IDLE;
        end
      endcase
      // A vector is no longer masked: what it held back goes out.
      if (engine == IDLE && (msix_fire_0 || msix_fire_1)) begin
        put(vector_entry[msix_fire_1][63:0], 7'd4, vector_entry[msix_fire_1][95:64]);
        engine <= INTERRUPT;
      end
    end
  end
  wire [7:0] verdict_now = kind == 0 || kind == 1 || kind == 4 || kind == 8 ? verdict : 8'd2;
  assign msix_fire_0 = engine == IDLE && master_on && msix_on && !msix_masked && vector_pending[0] && !vector_masked[0];
  assign msix_fire_1 = engine == IDLE && master_on && msix_on && !msix_masked && vector_pending[1] && !vector_masked[1] && !msix_fire_0;

  // ---- What goes out: answers first ----
  reg       sending, sending_answer;
  reg [4:0] out_word_at;
  wire [2:0] first_gap = first_be[0] ? 3'd0 : first_be[1] ? 3'd1 : first_be[2] ? 3'd2 : first_be[3] ? 3'd3 : 3'd0;
  wire [3:0] end_be = length_dw == 1 ? first_be : last_be;
  wire [2:0] last_gap = end_be[3] ? 3'd0 : end_be[2] ? 3'd1 : end_be[1] ? 3'd2 : 3'd3;
  // A read of no bytes counts as one.
  wire [11:0] memory_count = length_dw == 1 && first_be == 0
      ? 12'd1 : {length_dw, 2'b00} - {9'd0, first_gap} - {9'd0, last_gap};
  wire [11:0] answer_count = is_config || !hit ? 12'd4 : memory_count;
  wire [6:0]  answer_low = is_config ? 7'd0 : {to_address[6:2], first_gap[1:0]};
  wire        answer_data = hit && !with_data;
  wire [7:0]  out_end = {6'd0, out_at[1:0]} + {1'b0, out_bytes};
  wire [7:0]  out_ceil = out_end + 8'd3;
  wire [5:0]  out_dws = out_ceil[7:2];
  wire [3:0]  out_first = 4'hf << out_at[1:0];
  wire [3:0]  out_last = out_end[1:0] == 0 ? 4'hf : 4'hf >> (3'd4 - {1'b0, out_end[1:0]});
  wire        out_four = out_at[63:32] != 0;
  wire [5:0]  out_header = sending_answer || !out_four ? 6'd3 : 6'd4;
  wire [5:0]  out_data = sending_answer ? (answer_data ? length_dw[5:0] : 6'd0) : out_write ? out_dws : 6'd0;
  wire [5:0]  out_total = out_header + out_data;

  function automatic [7:0] lane(input [5:0] dw, input [1:0] byte_);
    lane = piece[{dw[3:0], byte_} - {4'd0, out_at[1:0]}];
  endfunction

  function automatic [31:0] out_dw(input [5:0] n);
    if (n >= out_header) begin
      if (sending_answer) out_dw = answer_dw[n[3:0] - out_header[3:0]];
      else if (out_small) out_dw = out_word;
      else out_dw = {lane(n - out_header, 3), lane(n - out_header, 2), lane(n - out_header, 1), lane(n - out_header, 0)};
    end else if (sending_answer) begin
      case (n[1:0])
        2'd0: out_dw = swap({1'b0, answer_data, 6'h0a, 1'b0, h0[22:20], 6'd0, h0[13:12], 2'b00,
                             answer_data ? length_dw : 10'd0});
        2'd1: out_dw = swap({identity, hit ? 3'b000 : 3'b001, 1'b0, answer_count});
        default: out_dw = swap({h1[31:8], 1'b0, answer_low});
      endcase
    end else begin
      case (n[1:0])
        2'd0: out_dw = swap({1'b0, out_write, out_four, 5'd0, 14'd0, 4'd0, out_dws});
        2'd1: out_dw = swap({identity, 8'd0, out_dws == 1 ? 4'd0 : out_last,
                             out_dws == 1 ? out_first & out_last : out_first});
        2'd2: out_dw = swap(out_four ? out_at[63:32] : {out_at[31:2], 2'b00});
        default: out_dw = swap({out_at[31:2], 2'b00});
      endcase
    end
  endfunction

  wire [5:0] low_dw = {out_word_at, 1'b0};
  assign to_host_there = sending;
  assign to_host_word = {low_dw + 6'd1 < out_total ? out_dw(low_dw + 6'd1) : 32'd0, out_dw(low_dw)};
  assign to_host_last = low_dw + 6'd2 >= out_total;
  wire   gone = sending && to_host_taken && to_host_last;
  assign out_answer_done = gone && sending_answer;
  assign out_engine_done = gone && !sending_answer;
  always @(posedge clock) begin
    if (reset) begin
      sending <= 0;
      sending_answer <= 0;
      out_word_at <= 0;
    end else if (!sending) begin
      sending <= out_answer || out_engine;
      sending_answer <= out_answer;
      out_word_at <= 0;
    end else if (gone) sending <= 0;
    else if (to_host_taken) out_word_at <= out_word_at + 5'd1;
  end
endmodule
