  // Block requests: up to 8 at a time, one slot each, on sectors that no other of them uses ----
  logic [7:0] shadow[32768];
  int b_sector[8], b_sectors[8], b_kind[8], b_status[8];
  logic [63:0] b_data[8];
  int done = 0, b_forced = -1;
  function automatic logic [63:0] area(input int slot);
    area = ((slot & 1) != 0 ? 64'h1_0000_0000 : 64'd0) + 64'h40000 + 64'(slot) * 64'h4000;
  endfunction
  bit b_in;
  task blk_offer(input int s);
    int i, cut, n;
    logic [63:0] a;
    begin
      b_kind[s] = (b_forced >= 0) ? b_forced : dice(10);  // 0..3 read, 4..6 write, 7 id, 8 discard, 9 zeroes
      b_sector[s] = 8 * s + dice(4);
      b_sectors[s] = 1 + dice(4);
      n = 512 * b_sectors[s];
      a = area(s);
      for (i = 0; i < 16; i = i + 1) mem[where(a + i)] = 0;
      case (b_kind[s])
        0, 1, 2, 3: mem[where(a)] = 8'd0;
        4, 5, 6: mem[where(a)] = 8'd1;
        7: mem[where(a)] = 8'd8;
        8: mem[where(a)] = 8'd11;
        default: mem[where(a)] = 8'd13;
      endcase
      mem[where(a + 8)] = 8'(b_sector[s]);
      b_data[s] = a + 64'h100 + 64'(dice(64));
      b_status[s] = where(a + 64'h3f00);
      mem[b_status[s]] = 8'hee;
      c_n = 0;
      buffer(a, 16, 0);
      if (b_kind[s] > 7) begin
        for (i = 0; i < n; i = i + 1) shadow[512*b_sector[s]+i] = 0;
        n = 16;
        for (i = 0; i < 16; i = i + 1) mem[where(b_data[s] + i)] = 0;
        mem[where(b_data[s])] = 8'(b_sector[s]);
        mem[where(b_data[s] + 8)] = 8'(b_sectors[s]);
      end
      if (b_kind[s] == 7) n = 20;
      if (b_kind[s] >= 4 && b_kind[s] < 7) begin
        for (i = 0; i < n; i = i + 1) begin
          mem[where(b_data[s] + i)] = 8'(dice(256));
          shadow[512*b_sector[s]+i] = mem[where(b_data[s] + i)];
        end
      end
      cut = 1 + dice(n - 1);
      b_in = b_kind[s] < 4 || b_kind[s] == 7;
      if (dice(2) == 0) buffer(b_data[s], n, b_in);
      else begin
        buffer(b_data[s], cut, b_in);
        buffer(b_data[s] + cut, n - cut, b_in);
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

