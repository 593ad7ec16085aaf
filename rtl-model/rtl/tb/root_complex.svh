  // A root complex: host memory, completions, credits, and an eye on the form of each TLP.
  int seed = SEED, errors = 0, cycles = 0;
  function automatic int dice(input int n);
    dice = $unsigned($random(seed)) % n;
  endfunction
  task fail(input [80*8-1:0] what);
    errors = errors + 1;
    $display("%0t: FAIL %0s", $time, what);
    if (errors > 10 || STOP) $finish;
  endtask

  logic [7:0] mem[MEM];
  int reads = 0, writes = 0, in_flight = 0, in_flight_max = 0, parts = 0;
  int msi[8];
  int told[4];                     // error messages: correctable, non-fatal, fatal
  int payload_max = 128, read_max = 512, tag_bits = 8;
  bit dma_allowed = 0;
  // What a law asks for: no answers; refused or poisoned answers to reads of payload; posted credits late.
  bit mute = 0, spoil = 0, scarce = 0;
  int no_posted_until = 0;
  logic [2:0] refusal = 0;
  // Used rings in host memory that are watched: where, the index last seen, how often it moved without an interrupt.
  logic [63:0] watch_used[2];
  int watch_idx[2], watch_msi[2];

  // ---- Reads that are unanswered ----
  logic r_busy[256];
  logic r_long[256];
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

  // Memory below 4 GiB and above it, in one array.
  function automatic int where(input logic [63:0] a);
    where = (a[63:33] == 0 && a[31:20] == 0) ? int'(a[19:0] ^ {a[32], 19'd0}) : -1;
  endfunction

  // What is written into a used ring: the index comes behind its elements, the interrupt behind the index.
  task watch(input int q, input bit interrupt);
    int now;
    begin
      if (watch_used[q] != 0) begin
        now = {16'd0, mem[where(watch_used[q] + 3)], mem[where(watch_used[q] + 2)]};
        while (watch_idx[q] != now) begin
          if (mem[where(watch_used[q] + 7 + 8 * (watch_idx[q] % QSIZE))] == 8'hff) fail("a used index before its element");
          watch_idx[q] = (watch_idx[q] + 1) & 16'hffff;
        end
        if (interrupt) begin
          if (watch_msi[q] == 0) fail("an interrupt before the used index");
          else watch_msi[q] = watch_msi[q] - 1;
        end else begin
          watch_msi[q] = watch_msi[q] + 1;
        end
      end
    end
  endtask

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
      end else if (t[0] == 8'h30) begin
        ph = ph - 1;
        if ({t[4], t[5]} != card_id || t[7] < 8'h30 || t[7] > 8'h33) fail("strange message");
        told[t[7][1:0]] = told[t[7][1:0]] + 1;
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
            if (t[t_head] == 1 || t[t_head] == 2) watch(int'(t[t_head]) - 1, 1);
          end else begin
            for (i = 0; i < t_len; i = i + 1) begin
              at = where(t_addr + t_lead + i);
              if (at < 0) fail("write outside memory");
              else mem[at] = t[t_head+t_lead+i];
            end
            for (i = 0; i < 2; i = i + 1)
              if (t_addr + t_lead == watch_used[i] + 2) watch(i, 0);
          end
        end else begin
          reads = reads + 1;
          nph = nph - 1;
          if (4 * t_dw > read_max) fail("read too long");
          if (r_busy[t_tag]) fail("tag in use");
          if (t[1][3] != (tag_bits == 10) || t[1][7] || (tag_bits == 5 && t_tag > 31)) fail("a tag of too many bits");
          r_long[t_tag] = t[1][3];
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
    if (dice(scarce ? 100 : 4) == 0 && cycles >= no_posted_until) begin
      if (ph < 4) ph = ph + 1;
      pd = (pd + 8 > 40) ? 40 : pd + 8;
    end
    if (dice(4) == 0) begin
      if (nph < 4) nph = nph + 1;
      if (cplh < 4) cplh = cplh + 1;
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
    bit payload;
    begin
      // At most to a multiple of 64, and not more than a payload.
      n = r_left[tag];
      to_cut = 64 - int'(r_addr[tag][5:0]);
      cuts = dice(payload_max / 64);
      if (n > to_cut + 64 * cuts) n = to_cut + 64 * cuts;
      lead = int'(r_addr[tag][1:0]);
      dw = (lead + n + 3) / 4;
      payload = r_addr[tag][19:0] >= 20'h40000;
      if (payload && refusal != 0) begin
        n = r_left[tag];
        dw = 0;
      end
      o[0] = (dw == 0) ? 8'h0a : 8'h4a; o[1] = r_long[tag] ? 8'h08 : 8'h00; o[2] = 8'(dw >> 8); o[3] = 8'(dw);
      if (payload && spoil && dw != 0) o[2] = o[2] | 8'h40;
      o[4] = 8'h00; o[5] = 8'h08;
      o[6] = 8'((r_left[tag] & 16'hfff) >> 8); o[7] = 8'(r_left[tag]);
      if (dw == 0) o[6] = o[6] | {refusal, 5'd0};
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
    for (i = 0; i < 4; i = i + 1) told[i] = 0;
    for (i = 0; i < 2; i = i + 1) watch_used[i] = 0;
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
        for (i = 0; i < 256 && found < 0 && !mute; i = i + 1)
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

  // A write or a read of n bytes at an address above 4 GiB; EP may be set.
  bit poison = 0;
  task burst(input bit write, input logic [63:0] a, input int n);
    int i, lead, dw;
    begin
      lead = int'(a[1:0]);
      dw = (lead + n + 3) / 4;
      h[0] = write ? 8'h60 : 8'h20; h[1] = 0; h[2] = 8'(dw >> 8) | (poison ? 8'h40 : 8'h00); h[3] = 8'(dw);
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

