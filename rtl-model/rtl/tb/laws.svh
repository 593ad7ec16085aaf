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


  // Configuration space: every doubleword, and which of its bits can be changed, is the model's.
  logic [63:0] space[1024];
  task space_test;
    int i, k;
    logic [31:0] was, ones, keep;
    begin
      for (i = 0; i < 1024; i = i + 1) space[i] = 0;
      if (DEVICE == 1) $readmemh("tb/space_net.hex", space);
      else $readmemh("tb/space_blk.hex", space);
      for (k = 0; k < 1024; k = k + 1) begin
        // The way back to D0 resets the function, and comes last.
        i = (k == 1023) ? 63 : (k == 63) ? 1023 : k;
        if (k < 96 || k > 1020) begin
          cfg_read(12'(4 * i), was);
          keep = (i == 18) ? 32'h0000_8000 : 0;
          cfg_write(12'(4 * i), ~keep);
          cfg_read(12'(4 * i), ones);
          cfg_write(12'(4 * i), 0);
          awake_again;
          cfg_read(12'(4 * i), d);
          cfg_write(12'(4 * i), was);
          if ({was, ones & ~d} !== space[i]) begin
            fail("configuration space");
            $display("  %0h: %h_%h, not %h", 4 * i, was, ones & ~d, space[i]);
          end
        end
      end
    end
  endtask
  // A reset of the function puts configuration requests off while it lasts.
  int put_off;
  task awake_again;
    begin
      put_off = 0;
      cfg_read(12'h000, d);
      while (cpl_status == 3'd2 && put_off < 1000) begin
        put_off = put_off + 1;
        cfg_read(12'h000, d);
      end
      if (cpl_status != 0) fail("a reset does not end");
    end
  endtask

  // One error: the message that tells it, its bit, what Device Status says; then all is cleared.
  task expect_error(input int message, input int error, input logic [3:0] status);
    int i;
    begin
      repeat (100) @(posedge clk);
      for (i = 0; i < 4; i = i + 1) begin
        if (told[i] != ((i == message) ? 1 : 0)) begin
          fail("error messages");
          $display("  error %0d: %0d of kind %0d", error, told[i], i);
        end
        told[i] = 0;
      end
      cfg_read(12'h104, d);
      if (d !== ((error < 0) ? 32'd0 : 32'd1 << error)) begin
        fail("uncorrectable status");
        $display("  error %0d: %h", error, d);
      end
      if (error >= 0) begin
        cfg_read(12'h118, d);
        if (message >= 0 && d[4:0] != 5'(error)) fail("first error");
      end
      cfg_read(12'h110, d);
      if (d !== ((message == 0) ? 32'h2000 : 0)) fail("correctable status");
      cfg_read(12'h048, d);
      if (d[19:16] != status) begin
        fail("device status");
        $display("  error %0d: %h", error, d[19:16]);
      end
      cfg_write(12'h048, {16'h000f, d[15:0]});
      cfg_write(12'h104, 32'hffff_ffff);
      cfg_write(12'h110, 32'hffff_ffff);
    end
  endtask
  task header_log(input logic [31:0] d0, input logic [31:0] d2);
    begin
      cfg_read(12'h11c, d);
      if (d != d0) fail("first doubleword of the header log");
      cfg_read(12'h124, d);
      if (d != d2) fail("third doubleword of the header log");
    end
  endtask
  task errors_test;
    int i;
    begin
      cfg_write(12'h104, 32'hffff_ffff);
      cfg_write(12'h110, 32'hffff_ffff);
      cfg_write(12'h048, 32'h000f_290f | (payload_max == 256 ? 32'h20 : 0));
      cfg_write(12'h114, 0);
      for (i = 0; i < 4; i = i + 1) told[i] = 0;
      get(64'hdead_0000, 4, d);
      if (cpl_status != 1) fail("a read of nothing is answered");
      header_log(32'h0000_0001, 32'hdead_0000);
      expect_error(0, 20, 4'b1001);
      put(64'hdead_0000, 4, 5);
      header_log(32'h4000_0001, 32'hdead_0000);
      expect_error(1, 20, 4'b1010);
      // More data than the payload size; bad data: memory stays as it is.
      put(BAR2 + 64'h100, 4, 32'h1234_5678);
      for (i = 0; i < 512; i = i + 1) w_buf[i] = 8'hee;
      burst(1, BAR2 + 64'h100, payload_max + 4);
      expect_error(3, 18, 4'b0100);
      poison = 1;
      burst(1, BAR2 + 64'h100, 8);
      poison = 0;
      expect_error(1, 12, 4'b0010);
      cfg_read(12'h004, d);
      if (!d[31]) fail("detected parity error");
      cfg_write(12'h004, {16'hffff, d[15:0]});
      get(BAR2 + 64'h100, 4, d);
      if (d != 32'h1234_5678) fail("a malformed or poisoned write was done");
      // A completion that answers nothing; a message that nobody knows, and one to be dropped.
      {h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7], h[8], h[9], h[10], h[11]} =
          {32'h0a00_0000, 32'h0008_0004, card_id, 16'hee00};
      hn = 12;
      h_np = 0;
      go;
      expect_error(0, 16, 4'b0001);
      for (i = 0; i < 2; i = i + 1) begin
        {h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7]} = {32'h3400_0000, 24'd0, (i == 0) ? 8'h7f : 8'h7e};
        for (at_byte = 8; at_byte < 16; at_byte = at_byte + 1) h[at_byte] = 0;
        hn = 16;
        h_np = 0;
        go;
        if (i == 0) expect_error(-1, -1, 4'b0000);
        else expect_error(1, 20, 4'b1010);
      end
      // Masked; fatal; not to be told.
      cfg_write(12'h108, 32'h0010_0000);
      put(64'hdead_0000, 4, 5);
      expect_error(-1, 20, 4'b1010);
      cfg_write(12'h108, 0);
      cfg_write(12'h10c, 32'h0010_0000);
      get(64'hdead_0000, 4, d);
      expect_error(3, 20, 4'b1100);
      cfg_write(12'h10c, 32'h0006_2030);
      cfg_write(12'h048, 32'h000f_2907 | (payload_max == 256 ? 32'h20 : 0));
      put(64'hdead_0000, 4, 5);
      expect_error(-1, 20, 4'b1010);
      // SERR# Enable tells all the same.
      cfg_write(12'h004, 32'h0000_0106);
      put(64'hdead_0000, 4, 5);
      expect_error(1, 20, 4'b1010);
      cfg_read(12'h004, d);
      if (!d[30]) fail("signaled system error");
      cfg_write(12'h004, 32'hffff_0006);
    end
  endtask
  int at_byte;

  // The window in configuration space: registers and memory, 1, 2 and 4 bytes.
  task window(input int bar, input logic [31:0] offset, input int n);
    begin
      cfg_write(12'h0d0, bar);
      cfg_write(12'h0d4, offset);
      cfg_write(12'h0d8, n);
    end
  endtask
  task window_test;
    begin
      window(0, 32'h0, 4);
      cfg_write(12'h0dc, 1);
      window(0, 32'h4, 4);
      cfg_read(12'h0dc, d);
      if (!d[0]) fail("VERSION_1 through the window");
      window(0, 32'h16, 2);
      cfg_write(12'h0dc, 32'hffff_0001);
      get(BAR0 + 64'h14, 4, d);
      if (d != 32'h0001_0000) fail("two bytes through the window");
      window(2, 32'h102, 2);
      cfg_write(12'h0dc, 32'hffff_1234);
      window(2, 32'h101, 1);
      cfg_write(12'h0dc, 32'hffff_ff56);
      get(BAR2 + 64'h100, 4, d);
      if (d != 32'h1234_5678 - 32'h22 * 256 && d[31:8] != 24'h12_3456) fail("memory through the window");
      window(2, 32'h100, 4);
      cfg_read(12'h0dc, e);
      if (e != d) fail("memory read through the window");
      window(1, 32'h8, 4);
      cfg_write(12'h0dc, 32'h77);
      get(BAR1 + 64'h8, 4, d);
      if (d != 32'h77) fail("the MSI-X table through the window");
      cfg_write(12'h0dc, 0);
      // Out of range, and badly aligned: nothing.
      window(2, 32'h10000, 4);
      cfg_write(12'h0dc, 32'hffff_ffff);
      cfg_read(12'h0dc, d);
      if (d != 0) fail("a window that points nowhere");
      window(2, 32'h101, 2);
      cfg_read(12'h0dc, d);
      if (d != 0) fail("a window that is badly aligned");
    end
  endtask

  // One request on the last queue that is done by itself; the answer is looked at only by its index.
  task quick;
    begin
      if (DEVICE == 1) begin
        c_n = 0;
        buffer(area(0), 12, 0);
        buffer(area(0) + 64'h203, 100, 0);
        offer(1, 0);
        publish(1);
      end else begin
        b_forced = 0;
        blk_offer(0);
        b_forced = -1;
        publish(0);
      end
    end
  endtask
  task quick_done;
    int n;
    begin
      n = 0;
      d = 0;
      while (d[15:0] != 16'(used[NQ-1] + 1) && n < 5000) begin
        @(posedge clk);
        n = n + 1;
        ring_get(ring[NQ-1] + 64'h2002, 2, d);
      end
      if (n == 5000) fail("a request is not done");
      used[NQ-1] = used[NQ-1] + 1;
      wipe(NQ - 1, (used[NQ-1] - 1) % QSIZE);
      repeat (600) @(posedge clk);
    end
  endtask

  // A vector that is masked stays pending, by its own mask or by the function's.
  task mask_test;
    int i, earlier;
    begin
      start;
      for (i = 0; i < 2; i = i + 1) begin
        if (i == 0) put(BAR1 + 16 * NQ + 12, 4, 1);
        else cfg_write(12'h07c, 32'hc000_0000);
        earlier = msi[NQ];
        quick;
        quick_done;
        get(BAR1 + 64'h800, 4, d);
        if (msi[NQ] != earlier || d != 32'd1 << NQ) fail("a masked vector is not pending");
        if (i == 0) put(BAR1 + 16 * NQ + 12, 4, 0);
        else cfg_write(12'h07c, 32'h8000_0000);
        repeat (300) @(posedge clk);
        get(BAR1 + 64'h800, 4, d);
        if (msi[NQ] != earlier + 1 || d != 0) fail("a vector is unmasked and its message does not come");
      end
    end
  endtask

  // A driver that wants no interrupt gets none; features that are not offered are refused.
  task suppression_test;
    int earlier;
    begin
      start;
      ring_put(ring[NQ-1] + 64'h1000, 2, 1);
      earlier = msi[NQ];
      quick;
      quick_done;
      if (msi[NQ] != earlier) fail("an interrupt that is not wanted");
      put(BAR0 + 64'h14, 1, 0);
      repeat (2000) @(posedge clk);
      put(BAR0 + 64'h14, 1, 3);
      put(BAR0 + 64'h08, 4, 1);
      put(BAR0 + 64'h0c, 4, 32'h101);
      put(BAR0 + 64'h14, 1, 11);
      get(BAR0 + 64'h14, 1, d);
      if (d != 3) fail("a feature that is not offered is accepted");
    end
  endtask

  // Without Bus Master Enable nothing leaves, and what waits goes on with it.
  task bus_master_test;
    begin
      start;
      cfg_write(12'h004, 32'h2);
      repeat (20) @(posedge clk);
      dma_allowed = 0;
      quick;
      repeat (500) @(posedge clk);
      get(BAR0 + 64'h12, 2, d);
      if (d != NQ) fail("registers without bus mastering");
      dma_allowed = 1;
      cfg_write(12'h004, 32'h6);
      quick_done;
    end
  endtask

  // A read of payload is refused, aborted, poisoned: the request fails, and Status says which.
  task refused_test;
    int i, n;
    begin
      for (i = 0; i < 3; i = i + 1) begin
        start;
        cfg_write(12'h004, 32'hffff_0006);
        cfg_write(12'h104, 32'hffff_ffff);
        refusal = (i == 0) ? 3'd1 : (i == 1) ? 3'd4 : 3'd0;
        spoil = i == 2;
        b_forced = 4;
        blk_offer(0);
        b_forced = -1;
        // Nothing of it reaches the disk, which is empty still.
        for (n = 0; n < 512 * b_sectors[0]; n = n + 1) shadow[512*b_sector[0]+n] = 0;
        publish(0);
        quick_done;
        if (mem[b_status[0]] != 8'd1) fail("a request whose data did not come is done");
        cfg_read(12'h004, d);
        if (d[31:28] != ((i == 0) ? 4'b0010 : (i == 1) ? 4'b0001 : 4'b1000)) fail("status of a read that failed");
        cfg_read(12'h104, d);
        if (d != ((i == 2) ? 32'h1000 : 0)) fail("errors of a read that failed");
        refusal = 0;
        spoil = 0;
      end
      cfg_write(12'h104, 32'hffff_ffff);
    end
  endtask

  // Nobody answers: after the time that software has set the error is told and the device asks for a reset.
  task timeout_test;
    int i;
    begin
      start;
      cfg_write(12'h068, (tag_bits == 10) ? 32'h1001 : 32'h1);
      cfg_write(12'h104, 32'hffff_ffff);
      mute = 1;
      quick;
      repeat (17000) @(posedge clk);
      cfg_read(12'h104, d);
      if (d != 0) fail("a completion timeout too early");
      cfg_read(12'h048, d);
      if (!d[21]) fail("transactions pending");
      repeat (4000) @(posedge clk);
      cfg_read(12'h104, d);
      if (d != 32'h4000) fail("no completion timeout");
      cfg_read(12'h048, d);
      if (d[21]) fail("transactions pending after a timeout");
      get(BAR0 + 64'h14, 1, d);
      if (d != 8'h4f) fail("a timeout is not reported");
      for (i = 0; i < 256; i = i + 1) r_busy[i] = 0;
      in_flight = 0;
      mute = 0;
      cfg_write(12'h104, 32'hffff_ffff);
    end
  endtask

  // Function level reset in the middle of work, and the way from D3hot to D0: all is as after power-on but for
  // what is sticky or the link's, and nothing of the old life follows.
  task reset_test;
    int i, k;
    begin
      for (k = 0; k < 2; k = k + 1) begin
        start;
        cfg_write(12'h108, 32'h0000_8000);
        quick;
        repeat (dice(200)) @(posedge clk);
        if (k == 0) begin
          cfg_read(12'h048, d);
          cfg_write(12'h048, 32'h0000_8000 | {16'd0, d[15:0]});
        end else begin
          cfg_write(12'h0fc, 32'h1);
          cfg_read(12'h0fc, d);
          if (d[1:0] != 0) fail("a power state that is not there");
          cfg_write(12'h0fc, 32'h3);
          get(BAR0, 4, d);
          if (cpl_status != 1) fail("memory in D3hot");
          cfg_write(12'h104, 32'hffff_ffff);
          cfg_write(12'h0fc, 32'h0);
        end
        if (cpl_status != 0) fail("the write that asks for a reset is answered before it");
        dma_allowed = 0;
        watch_used[0] = 0;
        watch_used[1] = 0;
        awake_again;
        if (put_off == 0) fail("a reset that takes no time");
        while (in_flight != 0) @(posedge clk);
        cfg_read(12'h104, d);
        if (d != 0) fail("a reset is an error");
        cfg_read(12'h108, d);
        if (d != 32'h8000) fail("what is sticky does not outlive a reset");
        cfg_read(12'h048, d);
        if (d != (32'h2910 | (payload_max == 256 ? 32'h20 : 0))) fail("device control after a reset");
        cfg_read(12'h010, d);
        cfg_read(12'h004, e);
        if (d != 0 || e != 32'h0010_0000) fail("configuration space after a reset");
        cfg_write(12'h108, 0);
        enumerate;
        get(BAR0 + 64'h14, 1, d);
        if (d != 0) fail("device status after a reset");
        for (i = 0; i < NQ; i = i + 1) begin
          put(BAR0 + 64'h16, 2, i);
          get(BAR0 + 64'h1c, 2, d);
          if (d != 0) fail("a queue is enabled after a reset");
        end
      end
    end
  endtask

  // A chain that is a loop: the device asks for a reset, and tells so.
  task loop_test;
    begin
      start;
      put(BAR0 + 64'h10, 2, 3);
      msi[3] = 0;
      // The message has no credits for a time: what is read behind it comes behind it.
      repeat (100) @(posedge clk);
      no_posted_until = cycles + 4000;
      ph = 0;
      descriptor(ring[NQ-1], 64'h40000, 16, 1, 0);
      ring_put(ring[NQ-1] + 64'h1004 + 2 * (avail[NQ-1] % QSIZE), 2, 0);
      avail[NQ-1] = avail[NQ-1] + 1;
      publish(NQ - 1);
      repeat (3000) @(posedge clk);
      get(BAR0 + 64'h14, 1, d);
      if (msi[3] != 1) fail("an answer passes a message");
      repeat (10000) @(posedge clk);
      get(BAR0 + 64'h14, 1, d);
      if (d != 8'h4f || msi[3] != 1) fail("a loop is not reported");
      get(BAR0 + 64'h1000, 1, d);
      get(BAR0 + 64'h1000, 1, e);
      if (d != 2 || e != 0) fail("ISR status");
    end
  endtask

  task laws;
    begin
      {on_card, indirect, event_idx} = 3'd0;
      errors_test;
      window_test;
      mask_test;
      suppression_test;
      bus_master_test;
      loop_test;
      if (DEVICE == 2) refused_test;
      timeout_test;
      reset_test;
      $display("laws: done after %0d cycles", cycles);
    end
  endtask
