  // Packets: what is sent comes back in order ----
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

