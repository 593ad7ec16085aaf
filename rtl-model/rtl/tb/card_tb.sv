// Smoke test: a small root complex and driver around the card, for any simulator with a clock. Host memory answers
// reads late, out of order and in parts; every handshake stalls at random; credits run out. First the laws one by
// one (laws.svh); then random requests over rings in host memory and on the card, direct and indirect, with and
// without event index, with sizes of reads and tags by turns, with resets between.
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
  parameter bit STOP = 0;        // at the first failure
  parameter bit LAWS = 1;        // one by one, before the random requests
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
    .REQUEST_BYTES(16384), .MEMORY_BYTES(65536), .DISK_SECTORS(64), .PACKETS(16), .TIMEOUT_CYCLES(200000),
    .RESET_CYCLES(500)
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

  `include "root_complex.svh"
  `include "driver.svh"
  `include "blk.svh"
  `include "net.svh"
  `include "laws.svh"

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
      // The list of capabilities: PCI Express, MSI-X, seven of virtio, power management.
      cfg_read(12'h034, d);
      at = d[7:0];
      i = 0;
      while (at != 0 && i < 20) begin
        cfg_read(12'(at), d);
        at = d[15:8];
        i = i + 1;
      end
      if (i != 10) fail("number of capabilities");
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
    if (LAWS) space_test;
    enumerate;
    card_memory_test;
    if (LAWS) laws;
    for (i = 0; i < 8; i = i + 1) begin
      {on_card, indirect, event_idx} = 3'(i);
      scarce = dice(3) == 0;
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
    $display("%0s: W=%0d device %0d prefetch %0d batch %0d: %0d requests, %0d reads (%0d completions, %0d at most in flight), %0d writes, %0d cycles",
             errors == 0 ? "PASS" : "FAILED", W, DEVICE, PREFETCH, BATCH, done, reads, parts, in_flight_max,
             writes, cycles);
    $finish;
  end

  initial begin
    #400000000;
    $display("FAILED: the time is over");
    $finish;
  end
endmodule
