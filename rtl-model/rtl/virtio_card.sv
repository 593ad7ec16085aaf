// A physical virtio PCIe card at TLP level: rx and tx are the two directions of a transaction layer.
module virtio_card #(
  parameter int W = 256,                 // bits of a beat: 64, 128, 256 or 512
  parameter int DEVICE = virtio_pkg::BLK_DEVICE_TYPE,
  parameter int QUEUE_SIZE_MAX = 256,    // a power of two
  parameter int CONTEXT_BITS = 3,        // 2^n requests of a queue at a time
  parameter int SEGMENT_BITS = 7,        // 2^n buffers of a request
  parameter int PREFETCH = 1,            // entries, and descriptors, that one read may ask for
  parameter int BATCH = 1,               // used elements that one write may carry, W/64 at most
  parameter int TABLE_ENTRIES = 256,     // the longest indirect table, a power of two
  parameter int READS_IN_FLIGHT = 16,    // a power of two to 256
  parameter int MSIX_VECTORS = 8,        // 1 to 32
  parameter int REQUEST_BYTES = 65536,   // the largest request, each way; a power of two
  parameter longint MEMORY_BYTES = 1048576,  // BAR2, a power of two
  parameter logic [63:0] WITHHELD_FEATURES = 64'd0,
  parameter longint DISK_SECTORS = 131072,   // a power of two
  parameter int SEG_MAX = 126,
  parameter int MTU = 1500,
  parameter logic [47:0] MAC = 48'h01_00_00_00_00_02,  // byte 0 in bits 7:0
  parameter int PACKETS = 256,           // on the cable and waiting
  parameter int CABLE_CYCLES = 125,
  parameter int LINK_GENERATION = 3,
  parameter int LINK_LANES = 8,
  parameter logic [63:0] SERIAL_NUMBER = virtio_pkg::CARD_SERIAL_NUMBER,
  parameter int CYCLES_PER_US = 250,     // the clock, for the ranges of the completion timeout
  parameter int TIMEOUT_CYCLES = 2500000,
  parameter int RESET_CYCLES = 250000    // a reset of the function takes so long
) (
  input  logic           clk_i,
  input  logic           rst_ni,
  // What comes.
  input  logic           rx_valid_i,
  output logic           rx_ready_o,
  input  logic           rx_sop_i,
  input  logic           rx_eop_i,
  input  logic [W-1:0]   rx_data_i,
  input  logic [W/8-1:0] rx_keep_i,
  output logic           rx_np_ok_o,
  // What leaves.
  output logic           tx_valid_o,
  input  logic           tx_ready_i,
  output logic           tx_sop_o,
  output logic           tx_eop_o,
  output logic [W-1:0]   tx_data_o,
  output logic [W/8-1:0] tx_keep_o,
  input  logic [7:0]     tx_credit_ph_i,
  input  logic [11:0]    tx_credit_pd_i,
  input  logic [7:0]     tx_credit_nph_i,
  input  logic [7:0]     tx_credit_cplh_i,
  input  logic [11:0]    tx_credit_cpld_i,
  // One cycle for each event, by queue.
  output logic [1:0]     stat_doorbell_o,
  output logic [1:0]     stat_index_read_o,
  output logic [1:0]     stat_index_o,
  output logic [1:0]     stat_entry_o,
  output logic [1:0]     stat_descriptor_o,
  output logic [1:0]     stat_payload_read_o,
  output logic [1:0]     stat_process_o,
  output logic [1:0]     stat_payload_write_o,
  output logic [1:0]     stat_used_o,
  output logic           stat_interrupt_o
);
  localparam bit IS_NET = DEVICE == virtio_pkg::NET_DEVICE_TYPE;
  localparam int NQ = IS_NET ? 2 : 1;
  localparam int CB = CONTEXT_BITS;
  localparam int SB = SEGMENT_BITS;
  localparam int OB = $clog2(REQUEST_BYTES);
  localparam int LB = OB + CB;
  localparam int IB = $clog2(2 * TABLE_ENTRIES * virtio_pkg::VIRTQ_DESC_BYTES);
  localparam int AB = (LB > IB) ? LB : IB;
  localparam int M = $clog2(MEMORY_BYTES);
  // Who reads: fetch engines, suppression words, payload. Who posts: queues, interrupts.
  localparam int OWNERS = 3 * NQ;
  localparam int OWNER_BITS = $clog2(OWNERS);
  localparam int JOBS = NQ + 1;
  localparam logic [63:0] DEVICE_FEATURES = IS_NET
      ? virtio_pkg::NET_F_MAC | virtio_pkg::NET_F_MTU | virtio_pkg::NET_F_STATUS
      : virtio_pkg::BLK_F_SEG_MAX | virtio_pkg::BLK_F_BLK_SIZE | virtio_pkg::BLK_F_FLUSH
        | virtio_pkg::BLK_F_DISCARD | virtio_pkg::BLK_F_WRITE_ZEROES;
  localparam logic [63:0] OFFERED = ~WITHHELD_FEATURES
      & (DEVICE_FEATURES | virtio_pkg::FEATURES_VERSION_1 | virtio_pkg::FEATURES_ACCESS_PLATFORM
         | virtio_pkg::FEATURES_ORDER_PLATFORM | virtio_pkg::FEATURES_INDIRECT_DESC
         | virtio_pkg::FEATURES_EVENT_IDX);

  // ---- What comes ----
  logic hdr_valid, hdr_has_data, hdr_take, dat_valid, dat_last, dat_take;
  logic [127:0] hdr;
  logic [W-1:0] dat;
  tlp_rx #(.W(W)) u_rx (
    .clk_i, .rst_ni, .rx_valid_i, .rx_ready_o, .rx_sop_i, .rx_eop_i, .rx_data_i, .rx_keep_i,
    .hdr_valid_o(hdr_valid), .hdr_o(hdr), .hdr_has_data_o(hdr_has_data), .hdr_take_i(hdr_take),
    .dat_valid_o(dat_valid), .dat_o(dat), .dat_last_o(dat_last), .dat_take_i(dat_take)
  );

  logic cpl_hdr_valid, cpl_hdr_take, cpl_dat_valid, cpl_dat_take;
  logic posted_hdr_valid, posted_hdr_take, posted_dat_valid, posted_dat_take;
  logic np_valid, np_take;
  logic [127:0] np_hdr;
  logic [31:0] np_data;
  rx_route #(.W(W)) u_route (
    .clk_i, .rst_ni, .sop_i(rx_valid_i && rx_ready_o && rx_sop_i), .first_byte_i(rx_data_i[7:0]),
    .np_ok_o(rx_np_ok_o), .hdr_valid_i(hdr_valid), .hdr_i(hdr), .hdr_has_data_i(hdr_has_data),
    .hdr_take_o(hdr_take), .dat_valid_i(dat_valid), .dat_i(dat), .dat_last_i(dat_last),
    .dat_take_o(dat_take), .cpl_hdr_valid_o(cpl_hdr_valid), .cpl_hdr_take_i(cpl_hdr_take),
    .cpl_dat_valid_o(cpl_dat_valid), .cpl_dat_take_i(cpl_dat_take), .posted_hdr_valid_o(posted_hdr_valid),
    .posted_hdr_take_i(posted_hdr_take), .posted_dat_valid_o(posted_dat_valid),
    .posted_dat_take_i(posted_dat_take), .np_valid_o(np_valid), .np_hdr_o(np_hdr), .np_data_o(np_data),
    .np_take_i(np_take)
  );

  // ---- The card as a target ----
  logic memory_space, bus_master, extended_tag, tag_10, msix_enable, msix_mask;
  logic [63:0] bar0, bar1, bar2;
  logic [12:0] payload_max, read_max;
  logic [15:0] id;
  logic write_error, read_error, read_error_take, cpl_error, cpl_advisory, late_error, late_ok;
  logic [4:0] write_error_bit, read_error_bit, cpl_error_bit, timeout;
  logic [127:0] read_error_hdr;
  logic function_reset, resetting_function, aer_here;
  logic [31:0] aer_rdata;

  logic tw_reg_we, tw_reg_bar, tw_mem_we;
  logic [13:0] tw_reg_addr;
  logic [3:0] tw_reg_be;
  logic [31:0] tw_reg_data;
  logic [M-1:0] tw_mem_addr;
  logic [W-1:0] tw_mem_data;
  logic [W/8-1:0] tw_mem_be;
  target_write #(.W(W), .MEMORY_BYTES(MEMORY_BYTES)) u_target_write (
    .clk_i, .rst_ni, .hdr_valid_i(posted_hdr_valid), .hdr_i(hdr), .hdr_has_data_i(hdr_has_data),
    .hdr_take_o(posted_hdr_take), .dat_valid_i(posted_dat_valid), .dat_i(dat), .dat_last_i(dat_last),
    .dat_take_o(posted_dat_take), .memory_space_i(memory_space), .bar0_i(bar0), .bar1_i(bar1),
    .bar2_i(bar2), .payload_max_i(payload_max), .error_o(write_error), .error_bit_o(write_error_bit),
    .reg_we_o(tw_reg_we), .reg_bar_o(tw_reg_bar),
    .reg_addr_o(tw_reg_addr), .reg_be_o(tw_reg_be), .reg_data_o(tw_reg_data), .mem_we_o(tw_mem_we),
    .mem_addr_o(tw_mem_addr), .mem_data_o(tw_mem_data), .mem_be_o(tw_mem_be)
  );

  logic [9:0] cfg_addr;
  logic [31:0] cfg_rdata, cfg_wdata, window_offset, window_length, window_data, window_wdata;
  logic cfg_we, window_we;
  logic [3:0] cfg_be;
  logic [7:0] window_bar;
  logic reg_re, reg_rbar, tr_mem_re, tr_mem_gnt, win_we, win_gnt;
  logic [13:0] reg_raddr;
  logic [3:0] reg_rbe;
  logic [31:0] reg_rdata, win_addr, win_data;
  logic [M-1:0] tr_mem_addr;
  logic [W-1:0] mem_rdata;
  logic [1:0] win_bar;
  logic [3:0] win_be;
  logic [7:0] given, gone;
  logic [2:0] tx_valid, tx_dvalid, tx_take, tx_dtake;
  logic [383:0] tx_hdr;
  logic [32:0] tx_dwords;
  logic [3*W-1:0] tx_data;
  target_read #(.W(W), .MEMORY_BYTES(MEMORY_BYTES)) u_target_read (
    .clk_i, .rst_ni, .req_valid_i(np_valid), .req_hdr_i(np_hdr), .req_data_i(np_data),
    .req_take_o(np_take), .id_o(id), .error_o(read_error), .error_bit_o(read_error_bit),
    .error_hdr_o(read_error_hdr), .error_take_i(read_error_take), .resetting_i(resetting_function),
    .cfg_addr_o(cfg_addr), .cfg_rdata_i(aer_here ? aer_rdata : cfg_rdata), .cfg_we_o(cfg_we), .cfg_be_o(cfg_be), .cfg_wdata_o(cfg_wdata),
    .window_bar_i(window_bar), .window_offset_i(window_offset), .window_length_i(window_length),
    .window_data_i(window_data), .window_we_o(window_we), .window_wdata_o(window_wdata),
    .memory_space_i(memory_space), .bar0_i(bar0), .bar1_i(bar1), .bar2_i(bar2),
    .payload_max_i(payload_max), .reg_re_o(reg_re), .reg_bar_o(reg_rbar), .reg_addr_o(reg_raddr),
    .reg_be_o(reg_rbe), .reg_data_i(reg_rdata), .mem_re_o(tr_mem_re), .mem_gnt_i(tr_mem_gnt),
    .mem_addr_o(tr_mem_addr), .mem_data_i(mem_rdata), .win_we_o(win_we), .win_gnt_i(win_gnt),
    .win_bar_o(win_bar), .win_addr_o(win_addr), .win_be_o(win_be), .win_data_o(win_data),
    .given_i(given), .gone_i(gone), .bus_master_i(bus_master), .tx_valid_o(tx_valid[0]),
    .tx_hdr_o(tx_hdr[127:0]), .tx_dwords_o(tx_dwords[10:0]), .tx_dvalid_o(tx_dvalid[0]),
    .tx_data_o(tx_data[W-1:0]), .tx_take_i(tx_take[0]), .tx_dtake_i(tx_dtake[0])
  );

  logic [7:0] isr;
  logic reads_idle, writes_idle, reset_asked, serr;
  logic [3:0] report, aer_device_status;
  logic [15:0] cpl_status, aer_status;
  config_space #(
    .DEVICE(DEVICE), .NUM_QUEUES(NQ), .MSIX_VECTORS(MSIX_VECTORS), .MEMORY_BYTES(MEMORY_BYTES),
    .LINK_GENERATION(LINK_GENERATION), .LINK_LANES(LINK_LANES), .SERIAL_NUMBER(SERIAL_NUMBER)
  ) u_space (
    .clk_i, .rst_ni, .raddr_i(cfg_addr), .rdata_o(cfg_rdata), .we_i(cfg_we), .waddr_i(cfg_addr),
    .wbe_i(cfg_be), .wdata_i(cfg_wdata), .interrupt_i(isr[1:0] != 2'd0 && !msix_enable),
    .transactions_pending_i(!reads_idle), .status_i(cpl_status | aer_status),
    .device_status_i(aer_device_status), .window_we_i(window_we), .window_data_i(window_wdata),
    .reset_asked_o(reset_asked), .reset_i(function_reset), .memory_space_o(memory_space),
    .bus_master_o(bus_master), .bar0_o(bar0), .bar1_o(bar1), .bar2_o(bar2), .payload_max_o(payload_max),
    .read_max_o(read_max), .extended_tag_o(extended_tag), .tag_10_o(tag_10), .timeout_o(timeout),
    .report_o(report), .serr_o(serr), .msix_enable_o(msix_enable),
    .msix_mask_o(msix_mask), .window_bar_o(window_bar), .window_offset_o(window_offset),
    .window_length_o(window_length), .window_data_o(window_data)
  );

  function_reset #(.CYCLES(RESET_CYCLES)) u_function_reset (
    .clk_i, .rst_ni, .asked_i(reset_asked), .answered_i(np_take), .begin_o(function_reset),
    .resetting_o(resetting_function)
  );

  // ---- Errors: of what comes, of requests that are refused, of what does not come ----
  logic rx_error, message_valid, message_open, message_take;
  logic [127:0] error_message;
  assign rx_error = (write_error || cpl_error) && !resetting_function;
  assign read_error_take = read_error && !rx_error;
  assign late_ok = !rx_error && !read_error;
  error_registers u_errors (
    .clk_i, .rst_ni, .addr_i(cfg_addr), .here_o(aer_here), .rdata_o(aer_rdata), .we_i(cfg_we),
    .be_i(cfg_be), .wdata_i(cfg_wdata), .error_i(rx_error || read_error || late_error),
    .bit_i(rx_error ? (write_error ? write_error_bit : cpl_error_bit)
           : read_error ? read_error_bit : virtio_pkg::AER_ERROR_TIMEOUT),
    .advisory_i(rx_error ? !write_error && cpl_advisory
                : read_error && read_error_bit == virtio_pkg::AER_ERROR_UNSUPPORTED),
    .logged_i(rx_error || read_error), .header_i(rx_error ? hdr : read_error_hdr), .report_i(report),
    .serr_i(serr), .id_i(id), .status_o(aer_status), .device_status_o(aer_device_status),
    .message_o(message_valid), .message_hdr_o(error_message), .message_take_i(message_take)
  );

  // ---- Registers; the configuration window writes while the host does not ----
  logic reg_we, reg_wbar;
  logic [13:0] reg_waddr;
  logic [3:0] reg_wbe;
  logic [31:0] reg_wdata;
  assign win_gnt = !tw_reg_we && !tw_mem_we;
  assign reg_we = tw_reg_we || (win_we && win_gnt && !win_bar[1]);
  assign reg_wbar = tw_reg_we ? tw_reg_bar : win_bar[0];
  assign reg_waddr = tw_reg_we ? tw_reg_addr : win_addr[13:0];
  assign reg_wbe = tw_reg_we ? tw_reg_be : win_be;
  assign reg_wdata = tw_reg_we ? tw_reg_data : win_data;

  localparam logic [1:0] REGION_COMMON = virtio_pkg::LAYOUT_COMMON[13:12];
  localparam logic [1:0] REGION_ISR = virtio_pkg::LAYOUT_ISR[13:12];
  localparam logic [1:0] REGION_DEVICE = virtio_pkg::LAYOUT_DEVICE[13:12];
  localparam logic [1:0] REGION_NOTIFY = virtio_pkg::LAYOUT_NOTIFY[13:12];
  logic [31:0] common_rdata, device_rdata, msix_rdata;
  logic is_isr;
  assign is_isr = !reg_rbar && reg_raddr == {REGION_ISR, 12'd0};
  always_comb begin
    if (reg_rbar) reg_rdata = msix_rdata;
    else if (reg_raddr[13:12] == REGION_COMMON) reg_rdata = common_rdata;
    else if (reg_raddr[13:12] == REGION_DEVICE) reg_rdata = device_rdata;
    else reg_rdata = is_isr ? {24'd0, isr} : 32'd0;
  end

  logic [NQ-1:0] doorbell;
  always_comb begin
    for (int q = 0; q < NQ; q++)
      doorbell[q] = reg_we && !reg_wbar && reg_waddr[13:12] == REGION_NOTIFY && reg_waddr[11:2] == 10'(q);
  end

  logic [NQ-1:0] fault, interrupt, on, enable;
  logic [16*NQ-1:0] vector, size;
  logic [64*NQ-1:0] desc, driver, device;
  logic [15:0] config_vector;
  logic dev_reset, resetting, running, event_idx, indirect, config_changed;
  common_config #(
    .NUM_QUEUES(NQ), .QUEUE_SIZE_MAX(QUEUE_SIZE_MAX), .MSIX_VECTORS(MSIX_VECTORS), .OFFERED(OFFERED)
  ) u_common (
    .clk_i, .rst_ni, .raddr_i(reg_raddr[11:0]), .rdata_o(common_rdata),
    .we_i(reg_we && !reg_wbar && reg_waddr[13:12] == REGION_COMMON), .waddr_i(reg_waddr[11:0]),
    .wbe_i(reg_wbe), .wdata_i(reg_wdata), .isr_o(isr), .isr_take_i(reg_re && is_isr && reg_rbe[0]),
    .isr_queue_i(interrupt != '0 && !msix_enable), .isr_config_i(config_changed),
    .needs_reset_i(fault != '0), .function_reset_i(function_reset), .config_changed_o(config_changed), .reset_o(dev_reset),
    .resetting_o(resetting), .quiet_i(reads_idle && writes_idle), .running_o(running),
    .event_idx_o(event_idx), .indirect_o(indirect), .config_vector_o(config_vector),
    .queue_vector_o(vector), .queue_size_o(size), .queue_enable_o(enable), .queue_desc_o(desc),
    .queue_driver_o(driver), .queue_device_o(device)
  );
  assign on = running ? enable : '0;

  device_config #(
    .DEVICE(DEVICE), .DISK_SECTORS(DISK_SECTORS), .SEG_MAX(SEG_MAX), .MTU(MTU), .MAC(MAC)
  ) u_device_config (
    .raddr_i(reg_raddr[11:0]), .rdata_o(device_rdata)
  );

  // ---- Interrupts ----
  logic interrupt_valid, message_ready;
  logic [63:0] message_address;
  logic [31:0] message_data;
  msix_table #(.VECTORS(MSIX_VECTORS), .CAUSES(NQ + 1)) u_msix (
    .clk_i, .rst_ni(rst_ni && !function_reset), .raddr_i(reg_raddr[11:0]), .rdata_o(msix_rdata),
    .we_i(reg_we && reg_wbar),
    .waddr_i(reg_waddr[11:0]), .wbe_i(reg_wbe), .wdata_i(reg_wdata), .enable_i(msix_enable),
    .mask_i(msix_mask), .forget_i(dev_reset), .raise_i({config_changed, interrupt}),
    .vector_i({config_vector, vector}), .message_valid_o(interrupt_valid),
    .message_ready_i(message_ready), .message_address_o(message_address),
    .message_data_o(message_data)
  );

  // ---- Memory on the card ----
  logic dw_mem_we, dw_mem_gnt, dr_mem_re, dr_mem_gnt;
  logic [M-1:0] dw_mem_addr, dr_mem_addr;
  logic [W-1:0] dw_mem_data;
  logic [W/8-1:0] dw_mem_be;
  logic win_mem;
  assign win_mem = win_we && win_gnt && win_bar[1];
  card_memory #(.W(W), .BYTES(MEMORY_BYTES)) u_memory (
    .clk_i, .host_we_i(tw_mem_we || win_mem), .host_waddr_i(tw_mem_we ? tw_mem_addr : win_addr[M-1:0]),
    .host_wdata_i(tw_mem_we ? tw_mem_data : W'(win_data)),
    .host_wbe_i(tw_mem_we ? tw_mem_be : (W / 8)'(win_be)), .host_re_i(tr_mem_re),
    .host_rgnt_o(tr_mem_gnt), .host_raddr_i(tr_mem_addr), .dma_we_i(dw_mem_we), .dma_wgnt_o(dw_mem_gnt),
    .dma_waddr_i(dw_mem_addr), .dma_wdata_i(dw_mem_data), .dma_wbe_i(dw_mem_be), .dma_re_i(dr_mem_re),
    .dma_rgnt_o(dr_mem_gnt), .dma_raddr_i(dr_mem_addr), .rdata_o(mem_rdata)
  );

  // ---- Reads ----
  logic [OWNERS-1:0] ask_valid, sent, local_owner, cpl_owner, got_owner;
  logic [64*OWNERS-1:0] ask_address;
  logic [32*OWNERS-1:0] ask_left;
  logic [AB*OWNERS-1:0] ask_at;
  logic [CB*OWNERS-1:0] ask_context;
  logic [12:0] sent_bytes, local_bytes, cpl_bytes, got_bytes;
  logic tag_valid, tag_take, local_valid, cpl_valid, cpl_failed, got_failed;
  logic [8:0] tag;
  logic [OWNER_BITS-1:0] tag_owner;
  logic [CB-1:0] tag_context, cpl_context, got_context;
  logic [AB-1:0] tag_at, local_at, cpl_at, got_at;
  logic [W/8-1:0] local_be, cpl_be, got_be;
  logic [W-1:0] cpl_data, got_data;
  logic [1:0] cpl_lead, got_lead;
  dma_read #(
    .W(W), .OWNERS(OWNERS), .OB(OWNER_BITS), .CB(CB), .AB(AB), .MEMORY_BYTES(MEMORY_BYTES)
  ) u_dma_read (
    .clk_i, .rst_ni, .abort_i(dev_reset), .bus_master_i(bus_master), .read_max_i(read_max), .id_i(id),
    .bar2_i(bar2), .ask_valid_i(ask_valid), .ask_address_i(ask_address), .ask_left_i(ask_left),
    .ask_at_i(ask_at), .ask_context_i(ask_context), .sent_o(sent), .sent_bytes_o(sent_bytes),
    .tag_valid_i(tag_valid), .tag_i(tag), .tag_take_o(tag_take), .owner_o(tag_owner),
    .context_o(tag_context), .at_o(tag_at), .tx_valid_o(tx_valid[1]), .tx_hdr_o(tx_hdr[255:128]),
    .tx_take_i(tx_take[1]), .mem_re_o(dr_mem_re), .mem_gnt_i(dr_mem_gnt), .mem_addr_o(dr_mem_addr),
    .got_valid_o(local_valid), .got_owner_o(local_owner), .got_at_o(local_at), .got_be_o(local_be),
    .got_bytes_o(local_bytes)
  );
  assign tx_dwords[21:11] = '0;
  assign tx_dvalid[1] = 1'b0;
  assign tx_data[2*W-1:W] = '0;

  dma_completions #(
    .W(W), .TAGS(READS_IN_FLIGHT), .OWNERS(OWNERS), .OB(OWNER_BITS), .CB(CB), .AB(AB),
    .TIMEOUT_CYCLES(TIMEOUT_CYCLES), .CYCLES_PER_US(CYCLES_PER_US)
  ) u_completions (
    .clk_i, .rst_ni, .hold_i(local_valid), .orphan_i(dev_reset), .forget_i(function_reset), .id_i(id),
    .extended_tag_i(extended_tag), .tag_10_i(tag_10), .timeout_i(timeout), .payload_max_i(payload_max),
    .error_o(cpl_error), .error_bit_o(cpl_error_bit), .error_advisory_o(cpl_advisory),
    .timeout_o(late_error), .timeout_ok_i(late_ok), .status_o(cpl_status), .tag_valid_o(tag_valid), .tag_o(tag), .tag_take_i(tag_take),
    .owner_i(tag_owner), .context_i(tag_context), .at_i(tag_at), .len_i(sent_bytes), .idle_o(reads_idle),
    .hdr_valid_i(cpl_hdr_valid), .hdr_i(hdr), .hdr_has_data_i(hdr_has_data), .hdr_take_o(cpl_hdr_take),
    .dat_valid_i(cpl_dat_valid), .dat_i(dat), .dat_last_i(dat_last), .dat_take_o(cpl_dat_take),
    .got_valid_o(cpl_valid), .got_owner_o(cpl_owner), .got_context_o(cpl_context), .got_at_o(cpl_at),
    .got_data_o(cpl_data), .got_be_o(cpl_be), .got_bytes_o(cpl_bytes), .got_lead_o(cpl_lead),
    .got_failed_o(cpl_failed)
  );
  // What came over the link, or from memory on the card.
  assign got_owner = local_valid ? local_owner : cpl_valid ? cpl_owner : '0;
  assign got_context = local_valid ? tag_context : cpl_context;
  assign got_at = local_valid ? local_at : cpl_at;
  assign got_data = local_valid ? mem_rdata : cpl_data;
  assign got_be = local_valid ? local_be : cpl_be;
  assign got_bytes = local_valid ? local_bytes : cpl_bytes;
  assign got_lead = local_valid ? 2'd0 : cpl_lead;
  assign got_failed = !local_valid && cpl_failed;

  // ---- Posted writes ----
  logic [JOBS-1:0] job_valid, job_ready, job_burst, job_queue;
  logic [JOBS*(CB+1)-1:0] job_context, job_release;
  logic [JOBS*64-1:0] job_address;
  logic [JOBS*32-1:0] job_bytes;
  logic [JOBS*W-1:0] job_data;
  logic [NQ-1:0] release_now, burst_sent;
  logic [CB:0] release_count, burst_context;
  logic [0:0] burst_queue;
  logic [SB-1:0] burst_index;
  logic burst_re;
  logic [LB-1:0] burst_at;
  logic dw_tx_valid, dw_tx_open;
  logic [127:0] dw_tx_hdr;
  logic [10:0] dw_tx_dwords;
  logic [64*NQ-1:0] burst_address;
  logic [32*NQ-1:0] burst_bytes;
  logic [(SB+1)*NQ-1:0] burst_first;
  logic [W*NQ-1:0] buf_data;
  dma_write #(
    .W(W), .SOURCES(JOBS), .QUEUES(NQ), .QB(1), .CB(CB), .SB(SB), .LB(LB), .MEMORY_BYTES(MEMORY_BYTES)
  ) u_dma_write (
    .clk_i, .rst_ni, .abort_i(dev_reset), .idle_o(writes_idle), .bus_master_i(bus_master),
    .payload_max_i(payload_max), .id_i(id), .bar2_i(bar2), .job_valid_i(job_valid),
    .job_ready_o(job_ready), .job_burst_i(job_burst), .job_queue_i(job_queue),
    .job_context_i(job_context), .job_address_i(job_address), .job_bytes_i(job_bytes),
    .job_release_i(job_release), .job_data_i(job_data), .given_o(given), .gone_o(gone),
    .release_o(release_now), .release_count_o(release_count), .burst_sent_o(burst_sent),
    .seg_queue_o(burst_queue), .seg_context_o(burst_context), .seg_index_o(burst_index),
    .seg_address_i(burst_address[64*burst_queue+:64]), .seg_bytes_i(burst_bytes[32*burst_queue+:32]),
    .seg_first_i(burst_first[(SB+1)*burst_queue+:SB+1]), .buf_re_o(burst_re), .buf_at_o(burst_at),
    .buf_data_i(buf_data[W*burst_queue_q+:W]), .tx_valid_o(dw_tx_valid), .tx_hdr_o(dw_tx_hdr),
    .tx_dwords_o(dw_tx_dwords), .tx_dvalid_o(tx_dvalid[2]), .tx_data_o(tx_data[3*W-1:2*W]),
    .tx_take_i(tx_take[2] && !message_open), .tx_dtake_i(tx_dtake[2]), .tx_open_o(dw_tx_open), .mem_we_o(dw_mem_we), .mem_gnt_i(dw_mem_gnt),
    .mem_addr_o(dw_mem_addr), .mem_data_o(dw_mem_data), .mem_be_o(dw_mem_be)
  );
  // A message goes between two writes; it needs nobody's leave to master the bus.
  assign message_open = message_valid && !dw_tx_open;
  assign message_take = tx_take[2] && message_open;
  assign tx_valid[2] = message_open || dw_tx_valid;
  assign tx_hdr[383:256] = message_open ? error_message : dw_tx_hdr;
  assign tx_dwords[32:22] = message_open ? '0 : dw_tx_dwords;
  logic [0:0] burst_queue_q;
  always_ff @(posedge clk_i) burst_queue_q <= burst_queue;

  // Interrupt messages wait until the queues have given what goes before them.
  assign job_valid[NQ] = interrupt_valid;
  assign message_ready = job_ready[NQ];
  assign job_burst[NQ] = 1'b0;
  assign job_queue[NQ] = 1'b0;
  assign job_context[NQ*(CB+1)+:CB+1] = '0;
  assign job_release[NQ*(CB+1)+:CB+1] = '0;
  assign job_address[NQ*64+:64] = message_address;
  assign job_bytes[NQ*32+:32] = 32'd4;
  assign job_data[NQ*W+:W] = W'(message_data);
  assign stat_interrupt_o = interrupt_valid && message_ready;

  tlp_tx #(.W(W)) u_tx (
    .clk_i, .rst_ni, .tx_valid_o, .tx_ready_i, .tx_sop_o, .tx_eop_o, .tx_data_o, .tx_keep_o,
    .credit_ph_i(tx_credit_ph_i), .credit_pd_i(tx_credit_pd_i), .credit_nph_i(tx_credit_nph_i),
    .credit_cplh_i(tx_credit_cplh_i), .credit_cpld_i(tx_credit_cpld_i), .valid_i(tx_valid),
    .hdr_i(tx_hdr), .dwords_i(tx_dwords), .data_i(tx_data), .dvalid_i(tx_dvalid), .take_o(tx_take),
    .dtake_o(tx_dtake)
  );

  // ---- Queues ----
  logic [NQ-1:0] req_valid, req_failed, dev_re, dev_rgnt, dev_we, dev_wgnt, done_valid, done_ready;
  logic [32*NQ-1:0] req_readable, req_writable, done_used, done_from, done_bytes;
  logic [OB*NQ-1:0] dev_raddr, dev_waddr;
  logic [W*NQ-1:0] dev_wdata;
  logic [W/8*NQ-1:0] dev_wbe;
  logic dev_busy;
  logic [NQ-1:0] s_index_read, s_index, s_entry, s_descriptor, s_payload_read, s_process, s_used;
  for (genvar q = 0; q < NQ; q++) begin : g_queue
    queue_engine #(
      .W(W), .RECEIVES(IS_NET && q == virtio_pkg::NET_RECEIVE_QUEUE), .CB(CB), .SB(SB),
      .PREFETCH(PREFETCH), .BATCH(BATCH), .TABLE_ENTRIES(TABLE_ENTRIES), .LB(LB), .AB(AB)
    ) u_queue (
      .clk_i, .rst_ni, .reset_i(dev_reset), .on_i(on[q]), .size_i(size[16*q+:16]),
      .desc_i(desc[64*q+:64]), .driver_i(driver[64*q+:64]), .device_i(device[64*q+:64]),
      .event_idx_i(event_idx), .indirect_i(indirect), .read_max_i(read_max), .doorbell_i(doorbell[q]),
      .fault_o(fault[q]), .interrupt_o(interrupt[q]),
      .ask_valid_o({ask_valid[2*NQ+q], ask_valid[NQ+q], ask_valid[q]}),
      .ask_address_o({ask_address[64*(2*NQ+q)+:64], ask_address[64*(NQ+q)+:64], ask_address[64*q+:64]}),
      .ask_left_o({ask_left[32*(2*NQ+q)+:32], ask_left[32*(NQ+q)+:32], ask_left[32*q+:32]}),
      .ask_at_o({ask_at[AB*(2*NQ+q)+:AB], ask_at[AB*(NQ+q)+:AB], ask_at[AB*q+:AB]}),
      .ask_context_o(ask_context[CB*(2*NQ+q)+:CB]),
      .sent_i({sent[2*NQ+q], sent[NQ+q], sent[q]}), .sent_bytes_i(sent_bytes),
      .got_valid_i({got_owner[2*NQ+q], got_owner[NQ+q], got_owner[q]}), .got_context_i(got_context),
      .got_at_i(got_at), .got_data_i(got_data), .got_be_i(got_be), .got_bytes_i(got_bytes),
      .got_lead_i(got_lead), .got_failed_i(got_failed), .job_valid_o(job_valid[q]),
      .job_ready_i(job_ready[q]), .job_burst_o(job_burst[q]), .job_context_o(job_context[(CB+1)*q+:CB+1]),
      .job_address_o(job_address[64*q+:64]), .job_bytes_o(job_bytes[32*q+:32]),
      .job_release_o(job_release[(CB+1)*q+:CB+1]), .job_data_o(job_data[W*q+:W]), .given_i(given),
      .gone_i(gone), .release_i(release_now[q]), .release_count_i(release_count),
      .burst_context_i(burst_context), .burst_index_i(burst_index),
      .burst_address_o(burst_address[64*q+:64]), .burst_bytes_o(burst_bytes[32*q+:32]),
      .burst_first_o(burst_first[(SB+1)*q+:SB+1]), .burst_re_i(burst_re && burst_queue == 1'(q)),
      .burst_at_i(burst_at), .buf_data_o(buf_data[W*q+:W]), .req_valid_o(req_valid[q]),
      .req_readable_o(req_readable[32*q+:32]), .req_writable_o(req_writable[32*q+:32]),
      .req_failed_o(req_failed[q]), .dev_busy_i(dev_busy), .dev_re_i(dev_re[q]), .dev_rgnt_o(dev_rgnt[q]),
      .dev_raddr_i(dev_raddr[OB*q+:OB]), .dev_we_i(dev_we[q]), .dev_wgnt_o(dev_wgnt[q]),
      .dev_waddr_i(dev_waddr[OB*q+:OB]), .dev_wdata_i(dev_wdata[W*q+:W]),
      .dev_wbe_i(dev_wbe[W/8*q+:W/8]), .done_valid_i(done_valid[q]), .done_ready_o(done_ready[q]),
      .done_used_i(done_used[32*q+:32]), .done_from_i(done_from[32*q+:32]),
      .done_bytes_i(done_bytes[32*q+:32]), .stat_index_read_o(s_index_read[q]),
      .stat_index_o(s_index[q]), .stat_entry_o(s_entry[q]), .stat_descriptor_o(s_descriptor[q]),
      .stat_payload_read_o(s_payload_read[q]), .stat_process_o(s_process[q]), .stat_used_o(s_used[q])
    );
    assign ask_context[CB*q+:CB] = '0;
    assign ask_context[CB*(NQ+q)+:CB] = '0;
    assign job_queue[q] = 1'(q);
  end
  assign stat_doorbell_o = 2'(doorbell);
  assign stat_index_read_o = 2'(s_index_read);
  assign stat_index_o = 2'(s_index);
  assign stat_entry_o = 2'(s_entry);
  assign stat_descriptor_o = 2'(s_descriptor);
  assign stat_payload_read_o = 2'(s_payload_read);
  assign stat_process_o = 2'(s_process);
  assign stat_payload_write_o = 2'(burst_sent);
  assign stat_used_o = 2'(s_used);

  // ---- The device behind them ----
  if (IS_NET) begin : g_net
    logic [31:0] rx_bytes;
    net_loopback #(
      .W(W), .MTU(MTU), .PACKETS(PACKETS), .CABLE_CYCLES(CABLE_CYCLES), .OB(OB)
    ) u_net (
      .clk_i, .rst_ni(rst_ni && !dev_reset), .req_valid_i(req_valid), .req_readable_i(req_readable),
      .req_writable_i(req_writable), .req_failed_i(req_failed), .busy_o(dev_busy), .tx_re_o(dev_re[1]),
      .tx_rgnt_i(dev_rgnt[1]), .tx_raddr_o(dev_raddr[2*OB-1:OB]), .tx_rdata_i(buf_data[2*W-1:W]),
      .rx_we_o(dev_we[0]), .rx_wgnt_i(dev_wgnt[0]), .rx_waddr_o(dev_waddr[OB-1:0]),
      .rx_wdata_o(dev_wdata[W-1:0]), .rx_wbe_o(dev_wbe[W/8-1:0]), .done_valid_o(done_valid),
      .done_ready_i(done_ready), .rx_bytes_o(rx_bytes)
    );
    assign dev_re[0] = 1'b0;
    assign dev_raddr[OB-1:0] = '0;
    assign dev_we[1] = 1'b0;
    assign dev_waddr[2*OB-1:OB] = '0;
    assign dev_wdata[2*W-1:W] = '0;
    assign dev_wbe[2*(W/8)-1:W/8] = '0;
    assign done_used = {32'd0, rx_bytes};
    assign done_from = '0;
    assign done_bytes = {32'd0, rx_bytes};
  end else begin : g_blk
    blk_disk #(.W(W), .SECTORS(DISK_SECTORS), .OB(OB)) u_blk (
      .clk_i, .rst_ni(rst_ni && !dev_reset), .req_valid_i(req_valid[0]), .req_readable_i(req_readable),
      .req_writable_i(req_writable), .req_failed_i(req_failed[0]), .re_o(dev_re[0]),
      .rgnt_i(dev_rgnt[0]), .raddr_o(dev_raddr), .rdata_i(buf_data), .we_o(dev_we[0]),
      .wgnt_i(dev_wgnt[0]), .waddr_o(dev_waddr), .wdata_o(dev_wdata), .wbe_o(dev_wbe),
      .done_valid_o(done_valid[0]), .done_ready_i(done_ready[0]), .done_used_o(done_used),
      .done_from_o(done_from), .done_bytes_o(done_bytes)
    );
    assign dev_busy = 1'b0;
  end

  logic unused;
  assign unused = &{1'b0, resetting, reg_rbe, tx_dtake, dev_rgnt, dev_wgnt, win_addr, buf_data};
endmodule
