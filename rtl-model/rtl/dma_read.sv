// Sends the reads that the engines ask for, one TLP of each at a time, rings before payload; reads of memory on
// the card stay there. An asker keeps address, place and length, and moves on by what is said to be sent.
module dma_read #(
  parameter int W = 256,
  parameter int OWNERS = 3,
  parameter int OB = 2,
  parameter int CB = 3,
  parameter int AB = 20,
  parameter longint MEMORY_BYTES = 1048576
) (
  input  logic                 clk_i,
  input  logic                 rst_ni,
  input  logic                 abort_i,
  input  logic                 bus_master_i,
  input  logic [12:0]          read_max_i,
  input  logic [15:0]          id_i,
  input  logic [63:0]          bar2_i,
  // The askers; a lower number goes first.
  input  logic [OWNERS-1:0]    ask_valid_i,
  input  logic [64*OWNERS-1:0] ask_address_i,
  input  logic [32*OWNERS-1:0] ask_left_i,
  input  logic [AB*OWNERS-1:0] ask_at_i,
  input  logic [CB*OWNERS-1:0] ask_context_i,
  output logic [OWNERS-1:0]    sent_o,
  output logic [12:0]          sent_bytes_o,
  // Tags.
  input  logic                 tag_valid_i,
  input  logic [8:0]           tag_i,
  output logic                 tag_take_o,
  output logic [OB-1:0]        owner_o,
  output logic [CB-1:0]        context_o,
  output logic [AB-1:0]        at_o,
  // To tlp_tx.
  output logic                 tx_valid_o,
  output logic [127:0]         tx_hdr_o,
  input  logic                 tx_take_i,
  // Memory on the card, and what it gave.
  output logic                 mem_re_o,
  input  logic                 mem_gnt_i,
  output logic [$clog2(MEMORY_BYTES)-1:0] mem_addr_o,
  output logic                 got_valid_o,    // data are on the memory's port
  output logic [OWNERS-1:0]    got_owner_o,
  output logic [AB-1:0]        got_at_o,
  output logic [W/8-1:0]       got_be_o,
  output logic [12:0]          got_bytes_o
);
  localparam int WB = W / 8;
  localparam int M = $clog2(MEMORY_BYTES);
  localparam logic [1:0] IDLE = 2'd0, ISSUE = 2'd1, LOCAL = 2'd2, LOCAL_DATA = 2'd3;

  logic [1:0] state_q;
  logic [OB-1:0] owner_q, pick;
  logic [63:0] address_q, address;
  logic [12:0] len_q, len, done_q;
  logic [AB-1:0] at_q;
  logic [CB-1:0] context_q;
  logic any, local_read;

  always_comb begin
    pick = '0;
    any = 1'b0;
    for (int r = OWNERS - 1; r >= 0; r--) begin
      if (ask_valid_i[r]) begin
        pick = OB'(r);
        any = 1'b1;
      end
    end
  end
  assign address = ask_address_i[64*pick+:64];
  assign len = virtio_pkg::one_tlp(address[11:0], ask_left_i[32*pick+:32], read_max_i);
  assign local_read = bar2_i != 64'd0 && address >= bar2_i
                      && address - bar2_i <= 64'(MEMORY_BYTES) - {51'd0, len};

`ifdef BUG_BUS_MASTER_IGNORED
  assign tx_valid_o = state_q == ISSUE && tag_valid_i && !abort_i;
`else
  assign tx_valid_o = state_q == ISSUE && tag_valid_i && bus_master_i && !abort_i;
`endif
  assign tx_hdr_o = virtio_pkg::memory_header(1'b0, address_q, len_q, id_i, tag_i);
  assign tag_take_o = tx_valid_o && tx_take_i;
  assign owner_o = owner_q;
  assign context_o = context_q;
  assign at_o = at_q;

  logic [12:0] part;
  logic local_end;
  assign part = (len_q - done_q < 13'(WB)) ? len_q - done_q : 13'(WB);
  assign local_end = state_q == LOCAL_DATA && done_q + part == len_q;
  assign mem_re_o = state_q == LOCAL;
  assign mem_addr_o = M'(address_q - bar2_i + {51'd0, done_q});
  assign got_valid_o = state_q == LOCAL_DATA;
  assign got_at_o = at_q + AB'(done_q);
  assign got_bytes_o = part;
  always_comb begin
    for (int b = 0; b < WB; b++) got_be_o[b] = 13'(b) < part;
    got_owner_o = '0;
    got_owner_o[owner_q] = 1'b1;
    sent_o = '0;
    sent_o[owner_q] = tag_take_o || local_end;
  end
  assign sent_bytes_o = len_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni || abort_i) begin
      state_q <= IDLE;
    end else begin
      case (state_q)
        IDLE:    if (any) state_q <= local_read ? LOCAL : ISSUE;
        ISSUE:   if (tx_take_i) state_q <= IDLE;
        LOCAL:   if (mem_gnt_i) state_q <= LOCAL_DATA;
        default: state_q <= local_end ? IDLE : LOCAL;
      endcase
    end
    if (state_q == IDLE) begin
      owner_q <= pick;
      address_q <= address;
      len_q <= len;
      at_q <= ask_at_i[AB*pick+:AB];
      context_q <= ask_context_i[CB*pick+:CB];
      done_q <= '0;
    end else if (state_q == LOCAL_DATA) begin
      done_q <= done_q + part;
    end
  end
endmodule
