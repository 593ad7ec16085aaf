// Smoke test: a small root complex and driver around the card, for any simulator with a clock. Host memory answers
// reads late, out of order and in parts; every handshake stalls at random; credits run out. Random requests over
// rings in host memory and on the card, direct and indirect, with and without event index, with resets between.
`timescale 1ns / 1ps
module card_tb;
  parameter int W = 256;
  parameter int DEVICE = 2;
  parameter int PREFETCH = 1;
  parameter int BATCH = 1;
  parameter int READS = 16;
  parameter int SEED = 1;
  parameter int REQUESTS = 60;   // for each combination
  parameter int STALL = 30;      // per cent of cycles
  localparam int WB = W / 8;
  localparam int MEM = 1 << 20;
  localparam logic [63:0] BAR0 = 64'he000_0000, BAR1 = 64'he001_0000, BAR2 = 64'h20_0000_0000;
  localparam int NQ = (DEVICE == 1) ? 2 : 1;
  localparam int QSIZE = 64;

  logic clk = 0, rst_n = 0;
  always #2 clk = !clk;

  logic rx_valid = 0, rx_sop = 0, rx_eop = 0, rx_ready, np_ok;
  logic [W-1:0] rx_data = 0;
  logic [WB-1:0] rx_keep = 0;
  logic tx_valid, tx_ready = 0, tx_sop, tx_eop;
  logic [W-1:0] tx_data;
  logic [WB-1:0] tx_keep;
  int ph = 4, pd = 40, nph = 4, cplh = 4, cpld = 40;
  logic [1:0] s_doorbell, s_index_read, s_index, s_entry, s_descriptor, s_pread, s_process, s_pwrite, s_used;
  logic s_interrupt;

  virtio_card #(
    .W(W), .DEVICE(DEVICE), .PREFETCH(PREFETCH), .BATCH(BATCH), .READS_IN_FLIGHT(READS),
    .REQUEST_BYTES(16384), .MEMORY_BYTES(65536), .DISK_SECTORS(64), .PACKETS(16), .TIMEOUT_CYCLES(200000)
  ) dut (
    .clk_i(clk), .rst_ni(rst_n), .rx_valid_i(rx_valid), .rx_ready_o(rx_ready), .rx_sop_i(rx_sop),
    .rx_eop_i(rx_eop), .rx_data_i(rx_data), .rx_keep_i(rx_keep), .rx_np_ok_o(np_ok),
    .tx_valid_o(tx_valid), .tx_ready_i(tx_ready), .tx_sop_o(tx_sop), .tx_eop_o(tx_eop),
    .tx_data_o(tx_data), .tx_keep_o(tx_keep), .tx_credit_ph_i(8'(ph)), .tx_credit_pd_i(12'(pd)),
    .tx_credit_nph_i(8'(nph)), .tx_credit_cplh_i(8'(cplh)), .tx_credit_cpld_i(12'(cpld)),
    .stat_doorbell_o(s_doorbell), .stat_index_read_o(s_index_read), .stat_index_o(s_index),
    .stat_entry_o(s_entry), .stat_descriptor_o(s_descriptor), .stat_payload_read_o(s_pread),
    .stat_process_o(s_process), .stat_payload_write_o(s_pwrite), .stat_used_o(s_used),
    .stat_interrupt_o(s_interrupt)
  );

  int seed = SEED, errors = 0, cycles = 0;
  function automatic int dice(input int n);
    dice = $unsigned($random(seed)) % n;
  endfunction
  task fail(input [80*8-1:0] what);
    errors = errors + 1;
    $display("%0t: FAIL %0s", $time, what);
    if (errors > 10) $finish;
  endtask

  logic [7:0] mem[MEM];
  int reads = 0, writes = 0, in_flight = 0, in_flight_max = 0, parts = 0;
  int msi[8];
  int payload_max = 128, read_max = 512;
  bit dma_allowed = 0;

  // ---- Reads that are unanswered ----
  logic r_busy[256];
  logic [63:0] r_addr[256];
  int r_left[256];
  int r_due[256];
  logic [15:0] card_id = 16'h0000;

  // ---- What the card sends ----
  logic [7:0] t[8192];
  int tn = 0;
  logic [63:0] t_addr;
  int t_dw, t_head, t_len, t_lead, t_tag;
  logic [3:0] t_first, t_last;
  logic [7:0] t_kind;
  bit cpl_seen = 0;
  logic [31:0] cpl_data;
  logic [2:0] cpl_status;
  logic [7:0] cpl_buf[1024];
  int cpl_at = 0, cpl_left = 0, cpl_from = 0;

  function automatic int where(input logic [63:0] a);
    where = (a[63:33] == 0 && a[31:20] == 0) ? int'(a[19:0]) : -1;
  endfunction

  task handle;
    int i, at;
    begin
      t_kind = t[0];
      t_head = t[0][5] ? 16 : 12;
      t_dw = {22'd0, t[2][1:0], t[3]};
      if (t_dw == 0) t_dw = 1024;
      if (tn != t_head + (t[0][6] ? 4 * t_dw : 0)) fail("length and beats differ");
      if (t_kind[4:0] == 5'h0a) begin
        cplh = cplh - 1;
        if (t[0][6]) cpld = cpld - (t_dw + 3) / 4;
        cpl_status = t[6][7:5];
        cpl_data = {t[15], t[14], t[13], t[12]};
        // The parts of a longer answer go together.
        t_lead = t[11][1:0];
        t_len = {t[6][3:0], t[7]};
        if (t_len != cpl_left && cpl_left > 0 && cpl_status == 0) fail("byte count of a completion");
        if (t[0][6] && 4 * t_dw > payload_max) fail("completion too long");
        i = 4 * t_dw - t_lead;
        cpl_seen = !t[0][6] || i >= t_len;
        if (i > t_len) i = t_len;
        if (cpl_left > 0 && t[11][6:0] != 7'(cpl_from)) fail("lower address of a completion");
        for (at = 0; at < i && t[0][6]; at = at + 1) cpl_buf[(cpl_at+at)%1024] = t[12+t_lead+at];
        cpl_at = cpl_at + i;
        cpl_left = cpl_left - i;
        cpl_from = cpl_from + i;
        if (t[10] != 8'h77) fail("completion with a wrong tag");
      end else begin
        t_first = t[7][3:0];
        t_last = t[7][7:4];
        t_addr = t[0][5] ? {t[8], t[9], t[10], t[11], t[12], t[13], t[14], t[15]}
                         : {32'd0, t[8], t[9], t[10], t[11]};
        t_tag = t[6];
        if (!dma_allowed) fail("a request of a card that is reset or may not");
        if (t[0][5] && t_addr[63:32] == 0) fail("long header below 4 GiB");
        if ({t[4], t[5]} != card_id) fail("wrong requester");
        if ((t_addr & 64'hfff) + 4 * t_dw > 4096) fail("page crossed");
        if (t_dw == 1 && (t_last != 0 || t_first == 0)) fail("byte enables of one doubleword");
        if (t_dw > 1 && (t_last == 0 || t_first == 0)) fail("byte enables of more doublewords");
        t_lead = t_first[0] ? 0 : t_first[1] ? 1 : t_first[2] ? 2 : 3;
        if (t_dw > 1) t_len = 4 * t_dw - t_lead - (t_last[3] ? 0 : t_last[2] ? 1 : t_last[1] ? 2 : 3);
        else t_len = t_first[0] + t_first[1] + t_first[2] + t_first[3];
        if (t[0][6]) begin
          writes = writes + 1;
          ph = ph - 1;
          pd = pd - (t_dw + 3) / 4;
          if (4 * t_dw > payload_max) fail("payload too long");
          if (t_addr[63:20] == 44'hfee) begin
            if (t_dw != 1 || t[t_head] > 7) fail("strange interrupt message");
            else msi[t[t_head]] = msi[t[t_head]] + 1;
          end else begin
            for (i = 0; i < t_len; i = i + 1) begin
              at = where(t_addr + t_lead + i);
              if (at < 0) fail("write outside memory");
              else mem[at] = t[t_head+t_lead+i];
            end
          end
        end else begin
          reads = reads + 1;
          nph = nph - 1;
          if (4 * t_dw > read_max) fail("read too long");
          if (r_busy[t_tag]) fail("tag in use");
          if (where(t_addr) < 0) fail("read outside memory");
          r_busy[t_tag] = 1;
          r_addr[t_tag] = t_addr + t_lead;
          r_left[t_tag] = t_len;
          r_due[t_tag] = cycles + 20 + dice(60);
          in_flight = in_flight + 1;
          if (in_flight > in_flight_max) in_flight_max = in_flight;
        end
      end
      if (ph < 0 || pd < 0 || nph < 0 || cplh < 0 || cpld < 0) fail("sent without a credit");
      tn = 0;
    end
  endtask

  bit in_packet = 0;
  always @(posedge clk) begin : receive
    int b;
    cycles = cycles + 1;
    if (rst_n && tx_valid && tx_ready) begin
      if (tx_sop == in_packet) fail("start of packet at a wrong place");
      in_packet = !tx_eop;
      for (b = 0; b < WB; b = b + 1) begin
        if (tx_keep[b]) begin
          t[tn] = tx_data[8*b+:8];
          tn = tn + 1;
        end
      end
      if (!tx_eop && tx_keep != '1) fail("a gap inside a packet");
      if (tx_eop) handle;
    end
    // Credits come back.
    if (dice(4) == 0) begin
      if (ph < 4) ph = ph + 1;
      if (nph < 4) nph = nph + 1;
      if (cplh < 4) cplh = cplh + 1;
      pd = (pd + 8 > 40) ? 40 : pd + 8;
      cpld = (cpld + 8 > 40) ? 40 : cpld + 8;
    end
    #0.5 tx_ready = dice(100) >= STALL;
  end

  // ---- What the host sends: one request at a time, and completions between ----
  logic [7:0] h[1100];
  int hn;
  bit h_go = 0, h_np = 0;
  logic [7:0] o[8192];
  int on;

  task beat_out;
    int i, n, b;
    begin
      i = 0;
      while (i < on) begin
        while (dice(100) < STALL) begin
          rx_valid = 0;
          @(posedge clk) #1;
        end
        rx_valid = 1;
        rx_sop = i == 0;
        rx_eop = on - i <= WB;
        rx_keep = 0;
        rx_data = 0;
        for (b = 0; b < WB; b = b + 1) begin
          if (i + b < on) begin
            rx_keep[b] = 1;
            rx_data[8*b+:8] = o[i+b];
          end else rx_data[8*b+:8] = 8'ha5;
        end
        #0.1;
        while (!rx_ready) @(posedge clk) #1;
        @(posedge clk) #1;
        i = i + WB;
      end
      rx_valid = 0;
    end
  endtask

  task complete(input int tag);
    int n, lead, dw, i, to_cut, cuts;
    begin
      // At most to a multiple of 64, and not more than a payload.
      n = r_left[tag];
      to_cut = 64 - int'(r_addr[tag][5:0]);
      cuts = dice(3);
      if (n > to_cut + 64 * cuts) n = to_cut + 64 * cuts;
      lead = int'(r_addr[tag][1:0]);
      dw = (lead + n + 3) / 4;
      o[0] = 8'h4a; o[1] = 0; o[2] = 8'(dw >> 8); o[3] = 8'(dw);
      o[4] = 8'h00; o[5] = 8'h08;
      o[6] = 8'((r_left[tag] & 16'hfff) >> 8); o[7] = 8'(r_left[tag]);
      o[8] = card_id[15:8]; o[9] = card_id[7:0]; o[10] = 8'(tag); o[11] = {1'b0, r_addr[tag][6:0]};
      for (i = 0; i < 4 * dw; i = i + 1)
        o[12+i] = (i < lead || i >= lead + n) ? 8'h5a : mem[where(r_addr[tag] + i - lead)];
      on = 12 + 4 * dw;
      parts = parts + 1;
      r_addr[tag] = r_addr[tag] + n;
      r_left[tag] = r_left[tag] - n;
      if (r_left[tag] == 0) begin
        r_busy[tag] = 0;
        in_flight = in_flight - 1;
      end
      beat_out;
    end
  endtask

  initial begin : sender
    int tag, i, found;
    for (i = 0; i < 256; i = i + 1) r_busy[i] = 0;
    for (i = 0; i < 8; i = i + 1) msi[i] = 0;
    for (i = 0; i < MEM; i = i + 1) mem[i] = 8'(i * 7 + (i >> 8));
    forever begin
      @(posedge clk) #1;
      if (h_go && (!h_np || np_ok) && dice(2) == 0) begin
        for (i = 0; i < hn; i = i + 1) o[i] = h[i];
        on = hn;
        beat_out;
        h_go = 0;
      end else begin
        found = -1;
        tag = dice(256);
        for (i = 0; i < 256 && found < 0; i = i + 1)
          if (r_busy[(tag+i)%256] && r_due[(tag+i)%256] <= cycles) found = (tag + i) % 256;
        if (found >= 0) complete(found);
      end
    end
  end

  task request(input logic [7:0] kind, input logic [63:0] a, input logic [3:0] be, input logic [31:0] d);
    bit long_form;
    begin
      long_form = a[63:32] != 0;
      h[0] = kind | (long_form ? 8'h20 : 8'h00); h[1] = 0; h[2] = 0; h[3] = 1;
      h[4] = 0; h[5] = 0; h[6] = 8'h77; h[7] = {4'd0, be};
      hn = 8;
      if (long_form) begin
        {h[8], h[9], h[10], h[11]} = a[63:32];
        hn = 12;
      end
      {h[hn], h[hn+1], h[hn+2], h[hn+3]} = a[31:0];
      hn = hn + 4;
      if (kind[6]) begin
        {h[hn+3], h[hn+2], h[hn+1], h[hn]} = d;
        hn = hn + 4;
      end
      h_np = !(kind == 8'h40);
      cpl_left = 0;
      go;
    end
  endtask

  task go;
    begin
      cpl_seen = 0;
      cpl_at = 0;
      h_go = 1;
      while (h_go) @(posedge clk);
      if (h_np) begin : waiting
        int n;
        n = 0;
        while (!cpl_seen && n < 20000) begin
          n = n + 1;
          @(posedge clk);
        end
        if (!cpl_seen) fail("no answer");
      end
    end
  endtask

  // A write or a read of n bytes at an address above 4 GiB.
  task burst(input bit write, input logic [63:0] a, input int n);
    int i, lead, dw;
    begin
      lead = int'(a[1:0]);
      dw = (lead + n + 3) / 4;
      h[0] = write ? 8'h60 : 8'h20; h[1] = 0; h[2] = 8'(dw >> 8); h[3] = 8'(dw);
      h[4] = 0; h[5] = 0; h[6] = 8'h77;
      h[7][3:0] = 4'hf << lead;
      h[7][7:4] = 4'hf >> (4 * dw - lead - n);
      if (dw == 1) h[7] = {4'd0, h[7][3:0] & h[7][7:4]};
      {h[8], h[9], h[10], h[11], h[12], h[13], h[14], h[15]} = a & ~64'd3;
      hn = 16;
      if (write) begin
        for (i = 0; i < 4 * dw; i = i + 1)
          h[16+i] = (i < lead || i >= lead + n) ? 8'hcc : w_buf[i-lead];
        hn = 16 + 4 * dw;
      end
      h_np = !write;
      cpl_left = write ? 0 : n;
      cpl_from = int'(a[6:0]);
      go;
    end
  endtask

  // Memory on the card, by long accesses at any address: what is around them stays.
  logic [7:0] w_buf[1024];
  logic [7:0] card_shadow[4096];
  task card_memory_test;
    int i, k, n, at;
    begin
      for (i = 0; i < 4096; i = i + 1) card_shadow[i] = 0;
      for (k = 0; k < 40; k = k + 1) begin
        n = 1 + dice((k & 1) != 0 ? 20 : 120);
        at = dice(4096 - 512);
        for (i = 0; i < n; i = i + 1) begin
          w_buf[i] = 8'(dice(256));
          card_shadow[at+i] = w_buf[i];
        end
        burst(1, BAR2 + 64'hb000 + at, n);
        n = 1 + dice(500);
        at = dice(4096 - 512);
        if ((at & 4095) + n + 4 < 4096) begin
          burst(0, BAR2 + 64'hb000 + at, n);
          if (cpl_left != 0) fail("a long read is not complete");
          for (i = 0; i < n; i = i + 1)
            if (cpl_buf[i] !== card_shadow[at+i]) begin
              fail("memory on the card");
              i = n;
            end
        end
      end
      burst(0, BAR2 + 64'hfffc, 4);
      burst(0, BAR2 + 64'h10000, 4);
      if (cpl_status != 3'd1) fail("an answer behind the end of BAR2");
    end
  endtask

  task cfg_write(input logic [11:0] at, input logic [31:0] d);
    request(8'h44, {32'd0, 16'h0100, 4'd0, at}, 4'hf, d);
    card_id = 16'h0100;
  endtask
  task cfg_read(input logic [11:0] at, output logic [31:0] d);
    request(8'h04, {32'd0, 16'h0100, 4'd0, at}, 4'hf, 0);
    d = cpl_data;
  endtask
  // Bytes are those of one doubleword.
  task put(input logic [63:0] a, input int n, input logic [31:0] d);
    request(8'h40, a & ~64'd3, ((4'd1 << n) - 4'd1) << a[1:0], d << (8 * a[1:0]));
  endtask
  task get(input logic [63:0] a, input int n, output logic [31:0] d);
    request(8'h00, a & ~64'd3, ((4'd1 << n) - 4'd1) << a[1:0], 0);
    d = (cpl_data >> (8 * a[1:0])) & ((n == 4) ? 32'hffff_ffff : (32'd1 << (8 * n)) - 1);
  endtask

  // ---- A driver ----
  logic [63:0] ring[2];
  int avail[2], used[2];
  bit on_card, indirect, event_idx;
  logic [31:0] d, e;

  task ring_put(input logic [63:0] a, input int n, input logic [31:0] v);
    int i;
    begin
      if (a >= BAR2) put(a, n, v);
      else for (i = 0; i < n; i = i + 1) mem[where(a + i)] = v[8*i+:8];
    end
  endtask
  task ring_get(input logic [63:0] a, input int n, output logic [31:0] v);
    int i;
    begin
      v = 0;
      if (a >= BAR2) get(a, n, v);
      else for (i = 0; i < n; i = i + 1) v[8*i+:8] = mem[where(a + i)];
    end
  endtask
  task descriptor(input logic [63:0] at, input logic [63:0] a, input int n, input int flags, input int next);
    begin
      ring_put(at, 4, a[31:0]);
      ring_put(at + 4, 4, a[63:32]);
      ring_put(at + 8, 4, n);
      ring_put(at + 12, 4, {16'(next), 16'(flags)});
    end
  endtask

  // The chain being built: up to 8 buffers of a slot.
  logic [63:0] c_addr[8];
  int c_len[8];
  bit c_write[8];
  int c_n;
  task buffer(input logic [63:0] a, input int n, input bit w);
    begin
      c_addr[c_n] = a;
      c_len[c_n] = n;
      c_write[c_n] = w;
      c_n = c_n + 1;
    end
  endtask
  task offer(input int q, input int slot);
    int i;
    logic [63:0] table_at;
    begin
      table_at = 64'h8fe8 + 64'(slot) * 64'h1000 + 64'(q) * 64'h100;
      for (i = 0; i < c_n; i = i + 1) begin
        if (indirect)
          descriptor(table_at + 16 * i, c_addr[i], c_len[i], (c_write[i] ? 2 : 0) | ((i + 1 < c_n) ? 1 : 0), i + 1);
        else
          descriptor(ring[q] + 16 * (8 * slot + i), c_addr[i], c_len[i],
                     (c_write[i] ? 2 : 0) | ((i + 1 < c_n) ? 1 : 0), 8 * slot + i + 1);
      end
      if (indirect) descriptor(ring[q] + 16 * 8 * slot, table_at, 16 * c_n, 4, 0);
      ring_put(ring[q] + 64'h1004 + 2 * (avail[q] % QSIZE), 2, 8 * slot);
      avail[q] = avail[q] + 1;
      c_n = 0;
    end
  endtask
  int rung[2];
  task publish(input int q);
    int old;
    begin
      old = rung[q];
      rung[q] = avail[q];
      ring_put(ring[q] + 64'h1002, 2, 32'(avail[q] & 16'hffff));
      e = 0;
      if (event_idx) ring_get(ring[q] + 64'h2004 + 8 * QSIZE, 2, e);
      if (!event_idx || 16'(avail[q] - int'(e[15:0]) - 1) < 16'(avail[q] - old)) put(BAR0 + 64'h3000 + 4 * q, 2, q);
    end
  endtask
  // Waits for the next used element by its interrupt.
  task wait_used(input int q, output int id, output int len);
    int n, seen;
    begin
      n = 0;
      ring_get(ring[q] + 64'h2002, 2, d);
      while (d[15:0] == 16'(used[q]) && n < 4000) begin
        if (event_idx) begin
          ring_put(ring[q] + 64'h1004 + 2 * QSIZE, 2, used[q]);
          // The write must be there before the last look.
          if (on_card) get(BAR0 + 64'h14, 1, d);
        end
        seen = msi[q+1];
        ring_get(ring[q] + 64'h2002, 2, d);
        while (d[15:0] == 16'(used[q]) && msi[q+1] == seen && n < 4000) begin
          n = n + 1;
          @(posedge clk);
        end
        ring_get(ring[q] + 64'h2002, 2, d);
      end
      if (d[15:0] == 16'(used[q])) fail("no interrupt");
      if (16'(int'(d[15:0]) - used[q]) > 16'(QSIZE)) fail("used index jumped");
      ring_get(ring[q] + 64'h2004 + 8 * (used[q] % QSIZE), 4, d);
      id = d;
      ring_get(ring[q] + 64'h2008 + 8 * (used[q] % QSIZE), 4, d);
      len = d;
      used[q] = used[q] + 1;
    end
  endtask

  task start;
    int q, n;
    begin
      put(BAR0 + 64'h14, 1, 0);
      n = 0;
      d = 1;
      while (d != 0 && n < 100) begin
        get(BAR0 + 64'h14, 1, d);
        n = n + 1;
      end
      if (d != 0) fail("reset does not end");
      // After that nothing may come.
      dma_allowed = 0;
      if (in_flight != 0) fail("reset ended with reads unanswered");
      repeat (200) @(posedge clk);
      dma_allowed = 1;
      put(BAR0 + 64'h14, 1, 3);
      put(BAR0 + 64'h08, 4, 0);
      put(BAR0 + 64'h0c, 4, (indirect ? 32'h1000_0000 : 0) | (event_idx ? 32'h2000_0000 : 0));
      put(BAR0 + 64'h08, 4, 1);
      put(BAR0 + 64'h0c, 4, 32'h3);
      put(BAR0 + 64'h14, 1, 11);
      get(BAR0 + 64'h14, 1, d);
      if (d != 11) fail("features refused");
      for (q = 0; q < NQ; q = q + 1) begin
        ring[q] = (on_card ? BAR2 : 64'h1_0000_1000) + 64'(q) * 64'h3000;
        avail[q] = 0;
        used[q] = 0;
        rung[q] = 0;
        ring_put(ring[q] + 64'h1000, 4, 0);
        ring_put(ring[q] + 64'h1004 + 2 * QSIZE, 2, 0);
        ring_put(ring[q] + 64'h2000, 4, 0);
        ring_put(ring[q] + 64'h2004 + 8 * QSIZE, 2, 0);
        put(BAR0 + 64'h16, 2, q);
        put(BAR0 + 64'h18, 2, QSIZE);
        put(BAR0 + 64'h1a, 2, q + 1);
        put(BAR0 + 64'h20, 4, ring[q][31:0]);
        put(BAR0 + 64'h24, 4, ring[q][63:32]);
        put(BAR0 + 64'h28, 4, 32'(ring[q] + 64'h1000));
        put(BAR0 + 64'h2c, 4, ring[q][63:32]);
        put(BAR0 + 64'h30, 4, 32'(ring[q] + 64'h2000));
        put(BAR0 + 64'h34, 4, ring[q][63:32]);
        put(BAR0 + 64'h1c, 2, 1);
        get(BAR0 + 64'h18, 4, d);
        if (d != {16'(q + 1), 16'(QSIZE)}) fail("queue size or vector does not read back");
      end
      put(BAR0 + 64'h14, 1, 15);
    end
  endtask

  // ---- Block requests: up to 8 at a time, one slot each, on sectors that no other of them uses ----
  logic [7:0] shadow[32768];
  int b_sector[8], b_sectors[8], b_kind[8], b_status[8];
  logic [63:0] b_data[8];
  int done = 0;
  function automatic logic [63:0] area(input int slot);
    area = ((slot & 1) != 0 ? 64'h1_0000_0000 : 64'd0) + 64'h40000 + 64'(slot) * 64'h4000;
  endfunction
  task blk_offer(input int s);
    int i, cut, n;
    logic [63:0] a;
    begin
      b_kind[s] = dice(8);  // 0..3 read, 4..6 write, 7 other
      b_sector[s] = 8 * s + dice(4);
      b_sectors[s] = 1 + dice(4);
      n = 512 * b_sectors[s];
      a = area(s);
      for (i = 0; i < 16; i = i + 1) mem[where(a + i)] = 0;
      mem[where(a)] = (b_kind[s] < 4) ? 8'd0 : (b_kind[s] < 7) ? 8'd1 : 8'd8;
      mem[where(a + 8)] = 8'(b_sector[s]);
      b_data[s] = a + 64'h100 + 64'(dice(64));
      b_status[s] = where(a + 64'h3f00);
      mem[b_status[s]] = 8'hee;
      c_n = 0;
      buffer(a, 16, 0);
      if (b_kind[s] == 7) n = 20;
      if (b_kind[s] >= 4 && b_kind[s] < 7) begin
        for (i = 0; i < n; i = i + 1) begin
          mem[where(b_data[s] + i)] = 8'(dice(256));
          shadow[512*b_sector[s]+i] = mem[where(b_data[s] + i)];
        end
      end
      cut = 1 + dice(n - 1);
      if (dice(2) == 0) buffer(b_data[s], n, !(b_kind[s] >= 4 && b_kind[s] < 7));
      else begin
        buffer(b_data[s], cut, !(b_kind[s] >= 4 && b_kind[s] < 7));
        buffer(b_data[s] + cut, n - cut, !(b_kind[s] >= 4 && b_kind[s] < 7));
      end
      buffer(a + 64'h3f00, 1, 1);
      offer(0, s);
    end
  endtask
  task blk_check(input int id, input int len);
    int s, i, n;
    begin
      s = id / 8;
      n = 512 * b_sectors[s];
      if (id % 8 != 0 || s > 7) fail("used id");
      if (mem[b_status[s]] != 0) fail("status of a block request");
      if (b_kind[s] < 4) begin
        if (len != n + 1) fail("used length of a read");
        for (i = 0; i < n; i = i + 1)
          if (mem[where(b_data[s] + i)] !== shadow[512*b_sector[s]+i]) begin
            fail("data of a read");
            i = n;
          end
      end else if (b_kind[s] == 7) begin
        if (len != 21 || mem[where(b_data[s])] != "v" || mem[where(b_data[s] + 19)] != "k") fail("identification");
      end else if (len != 1) fail("used length of a write");
      done = done + 1;
    end
  endtask
  task blk_run;
    int i, n, total, id, len;
    begin
      total = 0;
      while (total < REQUESTS) begin
        n = 1 + dice(8);
        for (i = 0; i < n; i = i + 1) begin
          blk_offer(i);
          if (dice(3) == 0) publish(0);
        end
        publish(0);
        for (i = 0; i < n; i = i + 1) begin
          wait_used(0, id, len);
          blk_check(id, len);
        end
        total = total + n;
      end
    end
  endtask

  // ---- Packets: what is sent comes back in order ----
  task net_run;
    int i, j, n, total, id, len, s;
    int l[8];
    begin
      total = 0;
      while (total < REQUESTS) begin
        n = 1 + dice(7);
        for (i = 0; i < n; i = i + 1) begin
          c_n = 0;
          buffer(area(i) + 64'h2001, 12, 1);
          buffer(area(i) + 64'h2011, 1600, 1);
          offer(0, i);
        end
        publish(0);
        for (i = 0; i < n; i = i + 1) begin
          l[i] = 60 + dice(1400);
          for (j = 0; j < l[i]; j = j + 1) mem[where(area(i) + 64'h203 + j)] = 8'(dice(256));
          for (j = 0; j < 12; j = j + 1) mem[where(area(i) + j)] = 8'h33;
          c_n = 0;
          buffer(area(i), 12, 0);
          buffer(area(i) + 64'h203, l[i], 0);
          offer(1, i);
          if (dice(3) == 0) publish(1);
        end
        publish(1);
        for (i = 0; i < n; i = i + 1) begin
          wait_used(1, id, len);
          if (id != 8 * i || len != 0) fail("transmit: id or length");
        end
        for (i = 0; i < n; i = i + 1) begin
          wait_used(0, id, len);
          if (id != 8 * i || len != 12 + l[i]) fail("receive: id or length");
          for (j = 0; j < 12; j = j + 1)
            if (mem[where(area(i) + 64'h2001 + j)] != ((j == 10) ? 8'd1 : 8'd0)) fail("receive: header");
          for (j = 0; j < l[i]; j = j + 1)
            if (mem[where(area(i) + 64'h2011 + j)] !== mem[where(area(i) + 64'h203 + j)]) begin
              fail("receive: data");
              j = l[i];
            end
          done = done + 1;
        end
        total = total + n;
      end
    end
  endtask

  task enumerate;
    int i, at;
    begin
      cfg_read(12'h000, d);
      if (d != {16'h1040 + 16'(DEVICE), 16'h1af4}) fail("vendor and device id");
      cfg_write(12'h018, 32'hffff_ffff);
      cfg_read(12'h018, d);
      if (d != 32'hffff_000c) fail("size of BAR2");
      cfg_write(12'h010, BAR0[31:0]);
      cfg_write(12'h014, BAR1[31:0]);
      cfg_write(12'h018, BAR2[31:0]);
      cfg_write(12'h01c, BAR2[63:32]);
      get(BAR0, 4, d);
      if (cpl_status != 3'd1) fail("memory space answers before it is enabled");
      cfg_write(12'h004, 32'h6);
      cfg_write(12'h048, 32'h0000_2910 | (payload_max == 256 ? 32'h20 : 0));
      // The list of capabilities: PCI Express, MSI-X, six of virtio, power management.
      cfg_read(12'h034, d);
      at = d[7:0];
      i = 0;
      while (at != 0 && i < 20) begin
        cfg_read(12'(at), d);
        at = d[15:8];
        i = i + 1;
      end
      if (i != 9) fail("number of capabilities");
      for (i = 0; i < 4; i = i + 1) begin
        put(BAR1 + 16 * i, 4, 32'hfee0_0000);
        put(BAR1 + 16 * i + 4, 4, 0);
        put(BAR1 + 16 * i + 8, 4, i);
        put(BAR1 + 16 * i + 12, 4, 0);
      end
      cfg_write(12'h07c, 32'h8000_0000);
      get(BAR0 + 64'h2000, 4, d);
      if (d != ((DEVICE == 1) ? 32'h0000_0002 : 32'd64)) fail("device configuration");
      // The window: num_queues by configuration accesses alone.
      cfg_write(12'h0d0, 0);
      cfg_write(12'h0d4, 32'h12);
      cfg_write(12'h0d8, 2);
      cfg_read(12'h0dc, d);
      if (d != NQ) fail("the configuration window");
    end
  endtask

  initial begin : main
    int i, t0;
    for (i = 0; i < 32768; i = i + 1) shadow[i] = 0;
    repeat (5) @(posedge clk);
    rst_n = 1;
    repeat (READS + 5) @(posedge clk);
    payload_max = (SEED & 1) != 0 ? 128 : 256;
    enumerate;
    card_memory_test;
    for (i = 0; i < 8; i = i + 1) begin
      {on_card, indirect, event_idx} = 3'(i);
      dma_allowed = 1;
      start;
      t0 = cycles;
      if (DEVICE == 1) net_run;
      else blk_run;
      $display("%s%s%s: done after %0d cycles", on_card ? "card" : "host", indirect ? " indirect" : " direct",
               event_idx ? " event" : "", cycles - t0);
      // A reset in the middle of work; in a disk only of reads, whose end does not matter.
      if (DEVICE == 1) begin
        c_n = 0;
        buffer(area(0), 12, 0);
        buffer(area(0) + 64'h203, 1400, 0);
        offer(1, 0);
        publish(1);
      end else begin
        b_kind[0] = 0;
        c_n = 0;
        mem[where(area(0))] = 0;
        buffer(area(0), 16, 0);
        buffer(area(0) + 64'h100, 2048, 1);
        buffer(area(0) + 64'h3f00, 1, 1);
        offer(0, 0);
        publish(0);
      end
      repeat (dice(300)) @(posedge clk);
    end
    // A chain that is a loop: the device asks for a reset, and tells so.
    indirect = 0;
    on_card = 0;
    event_idx = 0;
    start;
    put(BAR0 + 64'h10, 2, 3);
    msi[3] = 0;
    descriptor(ring[NQ-1], 64'h40000, 16, 1, 0);
    ring_put(ring[NQ-1] + 64'h1004, 2, 0);
    avail[NQ-1] = 1;
    publish(NQ - 1);
    repeat (20000) @(posedge clk);
    get(BAR0 + 64'h14, 1, d);
    if (d != 8'h4f || msi[3] != 1) fail("a loop is not reported");
    get(BAR0 + 64'h1000, 1, d);
    get(BAR0 + 64'h1000, 1, e);
    if (d != 2 || e != 0) fail("ISR status");
    $display("%0s: W=%0d device %0d prefetch %0d batch %0d: %0d requests, %0d reads (%0d completions, %0d at most in flight), %0d writes, %0d cycles",
             errors == 0 ? "PASS" : "FAILED", W, DEVICE, PREFETCH, BATCH, done, reads, parts, in_flight_max,
             writes, cycles);
    $finish;
  end

  initial begin
    #40000000;
    $display("FAILED: the time is over");
    $finish;
  end
endmodule
