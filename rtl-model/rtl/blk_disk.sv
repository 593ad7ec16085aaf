// A disk in memory: takes a request's header and data from its buffer, and leaves data and status there. The
// header is the first 16 readable bytes and the status the last writable byte, however they are cut.
module blk_disk #(
  parameter int W = 256,
  parameter longint SECTORS = 131072,
  parameter int OB = 16            // bits of a place in a buffer
) (
  input  logic           clk_i,
  input  logic           rst_ni,       // low in a device reset, too
  input  logic           req_valid_i,
  input  logic [31:0]    req_readable_i,
  input  logic [31:0]    req_writable_i,
  input  logic           req_failed_i,
  output logic           re_o,
  input  logic           rgnt_i,
  output logic [OB-1:0]  raddr_o,
  input  logic [W-1:0]   rdata_i,
  output logic           we_o,
  input  logic           wgnt_i,
  output logic [OB-1:0]  waddr_o,
  output logic [W-1:0]   wdata_o,
  output logic [W/8-1:0] wbe_o,
  output logic           done_valid_o,
  input  logic           done_ready_i,
  output logic [31:0]    done_used_o,
  output logic [31:0]    done_from_o,
  output logic [31:0]    done_bytes_o
);
  localparam int WB = W / 8;
  localparam longint ROWS = SECTORS * longint'(virtio_pkg::BLK_SECTOR_BYTES) / longint'(WB);
  localparam int R = $clog2(ROWS);
  localparam int SECTOR_ROWS = virtio_pkg::BLK_SECTOR_BYTES / WB;
  localparam int SR = $clog2(SECTOR_ROWS);
  localparam logic [63:0] CAPACITY = 64'(SECTORS);

  localparam logic [3:0] IDLE = 4'd0, KIND = 4'd1, SECTOR = 4'd2, SECTOR_TAKE = 4'd3, EXECUTE = 4'd4,
                         FROM_DISK = 4'd5, TO_DISK = 4'd6, IDENTIFY = 4'd7, STATUS = 4'd8, DONE = 4'd9,
                         RANGE = 4'd10, RANGE_SIZE = 4'd11, RANGE_TAKE = 4'd12, ZERO = 4'd13;

  logic [3:0] state_q;
  logic [31:0] kind_q, room_q, payload_q;
  logic [63:0] sector_q;
  logic [31:0] at_q;           // bytes asked for, or written
  logic [R-1:0] row_q, wrow_q; // of the disk
  logic pending_q;             // what was asked for in the cycle before is there
  logic [7:0] status_q;
  logic bare_q;                // only a status
  logic act_q;                 // the ranges are checked
  logic [31:0] range_q;        // the next range, bytes from the first one
  logic [63:0] zero_q;         // rows to clear

  // ---- The medium ----
  logic [W-1:0] disk[ROWS];
  logic [W-1:0] disk_q;
  logic disk_we, disk_re;
  logic [W-1:0] disk_in;
  always_ff @(posedge clk_i) begin
    if (disk_we) disk[wrow_q] <= disk_in;
    if (disk_re) disk_q <= disk[row_q];
  end
`ifndef SYNTHESIS
  // As in byte_ram.
  initial begin
    for (int i = 0; i < int'(ROWS); i++) disk[i] = '0;
  end
`endif

  // ---- Whether a command can be done ----
  logic [63:0] in_end, out_end, range_end;
  assign in_end = sector_q + {41'd0, room_q[31:9]};
  assign out_end = sector_q + {41'd0, payload_q[31:9]};
  logic in_fits, out_fits;
  assign in_fits = room_q[8:0] == '0 && sector_q <= CAPACITY && in_end <= CAPACITY;
  assign out_fits = payload_q[8:0] == '0 && sector_q <= CAPACITY && out_end <= CAPACITY;
  logic ranges_ok;
  assign ranges_ok = payload_q != '0 && payload_q[3:0] == '0
                     && payload_q <= virtio_pkg::BLK_MAX_RANGES * 32'(virtio_pkg::BLK_RANGE_BYTES);
  logic [31:0] range_sectors, range_flags, range_known;
  assign range_sectors = rdata_i[31:0];
  assign range_flags = rdata_i[63:32];
  assign range_known = (kind_q == virtio_pkg::BLK_T_WRITE_ZEROES) ? 32'd1 : 32'd0;
  assign range_end = sector_q + {32'd0, range_sectors};
  logic range_fits;
  assign range_fits = sector_q <= CAPACITY && range_end <= CAPACITY
                      && range_sectors <= virtio_pkg::BLK_MAX_RANGE_SECTORS;

  // ---- Buffer and disk ports ----
  logic moving, write_ok;
  assign moving = state_q == FROM_DISK;
  assign write_ok = !pending_q || wgnt_i;
  assign disk_re = moving && write_ok && at_q < room_q;
  assign re_o = state_q == KIND || state_q == SECTOR || state_q == RANGE || state_q == RANGE_SIZE
                || (state_q == TO_DISK && at_q < payload_q);
  always_comb begin
    case (state_q)
      SECTOR:     raddr_o = OB'(8);
      RANGE:      raddr_o = OB'(range_q + 32'(virtio_pkg::BLK_REQ_HDR_BYTES));
      RANGE_SIZE: raddr_o = OB'(range_q + 32'(virtio_pkg::BLK_REQ_HDR_BYTES) + 32'd8);
      TO_DISK:    raddr_o = OB'(at_q + 32'(virtio_pkg::BLK_REQ_HDR_BYTES));
      default:    raddr_o = '0;
    endcase
  end
  assign disk_we = (state_q == TO_DISK && pending_q) || state_q == ZERO;
  assign disk_in = (state_q == ZERO) ? '0 : rdata_i;

  assign we_o = (moving && pending_q) || state_q == IDENTIFY || state_q == STATUS;
  assign waddr_o = OB'((state_q == STATUS) ? (bare_q ? 32'd0 : room_q)
                       : moving ? at_q - 32'(WB) : at_q);
  always_comb begin
    if (state_q == STATUS) wdata_o = W'(status_q);
    else if (state_q == IDENTIFY) wdata_o = (at_q < 32'd64) ? W'(virtio_pkg::BLK_ID >> {at_q[5:0], 3'd0}) : '0;
    else wdata_o = disk_q;
    for (int b = 0; b < WB; b++)
      wbe_o[b] = (state_q == STATUS) ? b == 0 : moving || at_q + 32'(b) < room_q;
  end

  assign done_valid_o = state_q == DONE;
  assign done_used_o = bare_q ? {31'd0, room_q == '0 && req_writable_i != '0} : room_q + 32'd1;
  assign done_from_o = bare_q ? room_q : 32'd0;
  assign done_bytes_o = (req_writable_i == '0) ? 32'd0 : bare_q ? 32'd1 : room_q + 32'd1;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q <= IDLE;
      pending_q <= 1'b0;
    end else begin
      pending_q <= 1'b0;
      case (state_q)
        IDLE: begin
          bare_q <= 1'b1;
          act_q <= 1'b0;
          status_q <= virtio_pkg::BLK_S_IOERR;
          at_q <= '0;
          range_q <= '0;
          room_q <= req_writable_i - 32'd1;
          payload_q <= req_readable_i - 32'(virtio_pkg::BLK_REQ_HDR_BYTES);
          if (req_valid_i) begin
            if (req_writable_i == '0) begin
              state_q <= DONE;
              room_q <= '0;
            end else if (req_failed_i || req_writable_i > (32'd1 << OB)
                         || req_readable_i < 32'(virtio_pkg::BLK_REQ_HDR_BYTES)) begin
              state_q <= STATUS;
            end else begin
              state_q <= KIND;
            end
          end
        end
        KIND: if (rgnt_i) state_q <= SECTOR;
        SECTOR: begin
          // The first of these cycles is the one behind the grant.
          if (!act_q) kind_q <= rdata_i[31:0];
          act_q <= 1'b1;
          if (rgnt_i) begin
            state_q <= SECTOR_TAKE;
            act_q <= 1'b0;
          end
        end
        SECTOR_TAKE: begin
          sector_q <= rdata_i[63:0];
          state_q <= EXECUTE;
        end
        EXECUTE: begin
          row_q <= {sector_q[R-SR-1:0], {SR{1'b0}}};
          wrow_q <= {sector_q[R-SR-1:0], {SR{1'b0}}};
          state_q <= STATUS;
          case (kind_q)
            virtio_pkg::BLK_T_IN:
              if (in_fits) begin
                state_q <= (room_q == '0) ? STATUS : FROM_DISK;
                bare_q <= 1'b0;
                status_q <= virtio_pkg::BLK_S_OK;
              end
            virtio_pkg::BLK_T_OUT:
              if (out_fits) begin
                state_q <= (payload_q == '0) ? STATUS : TO_DISK;
                status_q <= virtio_pkg::BLK_S_OK;
              end
            virtio_pkg::BLK_T_FLUSH: status_q <= virtio_pkg::BLK_S_OK;
            virtio_pkg::BLK_T_GET_ID: begin
              state_q <= (room_q == '0) ? STATUS : IDENTIFY;
              bare_q <= 1'b0;
              status_q <= virtio_pkg::BLK_S_OK;
            end
            virtio_pkg::BLK_T_DISCARD, virtio_pkg::BLK_T_WRITE_ZEROES: if (ranges_ok) state_q <= RANGE;
            default: status_q <= virtio_pkg::BLK_S_UNSUPP;
          endcase
        end
        FROM_DISK: begin
          pending_q <= disk_re || !write_ok;
          if (disk_re) begin
            row_q <= row_q + 1'b1;
            at_q <= at_q + 32'(WB);
          end
          if (pending_q && wgnt_i && !disk_re) state_q <= STATUS;
        end
        TO_DISK: begin
          pending_q <= rgnt_i;
          if (rgnt_i) at_q <= at_q + 32'(WB);
          if (pending_q) wrow_q <= wrow_q + 1'b1;
          if (pending_q && at_q >= payload_q) state_q <= STATUS;
        end
        IDENTIFY: begin
          if (wgnt_i) begin
            at_q <= at_q + 32'(WB);
            if (at_q + 32'(WB) >= room_q) state_q <= STATUS;
          end
        end
        // All ranges are checked before the first one is acted on.
        RANGE: begin
          pending_q <= rgnt_i;
          if (rgnt_i) state_q <= RANGE_SIZE;
        end
        RANGE_SIZE: begin
          if (pending_q) sector_q <= rdata_i[63:0];
          if (rgnt_i) state_q <= RANGE_TAKE;
        end
        RANGE_TAKE: begin
          range_q <= range_q + 32'(virtio_pkg::BLK_RANGE_BYTES);
          wrow_q <= {sector_q[R-SR-1:0], {SR{1'b0}}};
          zero_q <= {32'd0, range_sectors} << SR;
          if ((range_flags & ~range_known) != '0) begin
            status_q <= virtio_pkg::BLK_S_UNSUPP;
            state_q <= STATUS;
          end else if (!range_fits) begin
            state_q <= STATUS;
          end else if (act_q && range_sectors != '0) begin
            state_q <= ZERO;
          end else if (range_q + 32'(virtio_pkg::BLK_RANGE_BYTES) == payload_q) begin
            act_q <= 1'b1;
            range_q <= '0;
            if (act_q) status_q <= virtio_pkg::BLK_S_OK;
            state_q <= act_q ? STATUS : RANGE;
          end else begin
            state_q <= RANGE;
          end
        end
        ZERO: begin
          wrow_q <= wrow_q + 1'b1;
          zero_q <= zero_q - 64'd1;
          if (zero_q == 64'd1) begin
            if (range_q == payload_q) status_q <= virtio_pkg::BLK_S_OK;
            state_q <= (range_q == payload_q) ? STATUS : RANGE;
          end
        end
        STATUS: if (wgnt_i) state_q <= DONE;
        default: if (done_ready_i) state_q <= IDLE;
      endcase
    end
  end

  logic unused;
  assign unused = &{1'b0, sector_q};
endmodule
