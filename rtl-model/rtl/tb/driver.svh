  // A driver: rings in host memory or on the card, chains, the status sequence.
  logic [63:0] ring[2];
  int avail[2], used[2];
  bit on_card, indirect, event_idx;
  int round = 0;
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
  // A chain begins in the first of its places and goes on from the last one backwards.
  function automatic int place(input int i, input int of);
    place = (i == 0) ? 0 : of - i;
  endfunction
  task offer(input int q, input int slot);
    int i;
    logic [63:0] table_at;
    begin
      table_at = 64'h8fe8 + 64'(slot) * 64'h1000 + 64'(q) * 64'h100;
      for (i = 0; i < c_n; i = i + 1) begin
        if (indirect)
          descriptor(table_at + 16 * place(i, c_n), c_addr[i], c_len[i],
                     (c_write[i] ? 2 : 0) | ((i + 1 < c_n) ? 1 : 0), place(i + 1, c_n));
        else
          descriptor(ring[q] + 16 * (8 * slot + place(i, 8)), c_addr[i], c_len[i],
                     (c_write[i] ? 2 : 0) | ((i + 1 < c_n) ? 1 : 0), 8 * slot + place(i + 1, 8));
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
  // Forgets an element, so that the next one in its place can be told from it.
  task wipe(input int q, input int slot);
    if (!on_card) mem[where(ring[q] + 64'h2007 + 8 * 64'(slot))] = 8'hff;
  endtask
  // Waits for the next used element by its interrupt, or by looking, if the ring is on the card.
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
          if (on_card && (round & 1) != 0) ring_get(ring[q] + 64'h2002, 2, d);
        end
        ring_get(ring[q] + 64'h2002, 2, d);
      end
      if (d[15:0] == 16'(used[q])) fail("no interrupt");
      if (16'(int'(d[15:0]) - used[q]) > 16'(QSIZE)) fail("used index jumped");
      ring_get(ring[q] + 64'h2004 + 8 * (used[q] % QSIZE), 4, d);
      id = d;
      ring_get(ring[q] + 64'h2008 + 8 * (used[q] % QSIZE), 4, d);
      len = d;
      wipe(q, used[q] % QSIZE);
      used[q] = used[q] + 1;
    end
  endtask

  // Sizes of reads and tags by turns.
  task express_settings;
    begin
      round = round + 1;
      case (round % 4)
        0: read_max = 512;
        1: read_max = 128;
        2: read_max = 1024;
        default: read_max = 256;
      endcase
      tag_bits = (round % 3 == 0) ? 8 : (round % 3 == 1) ? 5 : 10;
      cfg_write(12'h048, 32'h0810 | (payload_max == 256 ? 32'h20 : 0) | (tag_bits == 8 ? 32'h100 : 0)
                         | ((read_max == 128) ? 0 : (read_max == 256) ? 32'h1000 : (read_max == 512) ? 32'h2000 : 32'h3000));
      cfg_write(12'h068, (tag_bits == 10) ? 32'h1000 : 0);
    end
  endtask

  // Indices that are about to wrap at 65,536, of a simulator that lets them be set.
  task near_the_wrap(input int q);
`ifdef __ICARUS__
    if ((round & 2) != 0) begin
      avail[q] = 65533;
      dut.g_queue[0].u_queue.u_fetch.next_q = 16'd65533;
      dut.g_queue[0].u_queue.u_fetch.seen_q = 16'd65533;
      dut.g_queue[0].u_queue.u_used.idx_q = 16'd65533;
      dut.g_queue[0].u_queue.u_used.upto_q = 16'd65533;
      dut.g_queue[0].u_queue.u_used.decided_q = 16'd65533;
    end
`else
    avail[q] = 0;
`endif
  endtask

  task start;
    int q, n, i;
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
      express_settings;
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
        if (q == 0) near_the_wrap(q);
        used[q] = avail[q];
        rung[q] = avail[q];
        watch_used[q] = on_card ? 64'd0 : ring[q] + 64'h2000;
        watch_idx[q] = used[q];
        watch_msi[q] = 0;
        for (i = 0; i < QSIZE; i = i + 1) wipe(q, i);
        ring_put(ring[q] + 64'h1000, 4, {16'(avail[q]), 16'd0});
        ring_put(ring[q] + 64'h1004 + 2 * QSIZE, 2, avail[q]);
        ring_put(ring[q] + 64'h2000, 4, {16'(avail[q]), 16'd0});
        ring_put(ring[q] + 64'h2004 + 8 * QSIZE, 2, avail[q]);
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

