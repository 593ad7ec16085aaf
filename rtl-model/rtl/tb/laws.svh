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

