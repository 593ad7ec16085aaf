// Device configuration: what a disk or a network interface says about itself. Read only.
module device_config
#(
  parameter int DEVICE = virtio_pkg::BLK_DEVICE_TYPE,
  parameter longint DISK_SECTORS = 131072,
  parameter int SEG_MAX = 126,
  parameter int MTU = 1500,
  parameter logic [47:0] MAC = 48'h01_00_00_00_00_02  // byte 0 in bits 7:0
) (
  input  logic [11:0] raddr_i,
  output logic [31:0] rdata_o
);
  localparam logic [63:0] CAPACITY = 64'(DISK_SECTORS);

  if (DEVICE == virtio_pkg::NET_DEVICE_TYPE) begin : g_net
    always_comb begin
      case (raddr_i)
        12'h00:  rdata_o = MAC[31:0];
        12'h04:  rdata_o = {virtio_pkg::NET_STATUS_LINK_UP, MAC[47:32]};
        12'h08:  rdata_o = {16'(MTU), 16'd0};
        default: rdata_o = 32'd0;
      endcase
    end
  end else begin : g_blk
    always_comb begin
      case (raddr_i)
        12'h00:  rdata_o = CAPACITY[31:0];
        12'h04:  rdata_o = CAPACITY[63:32];
        12'h0c:  rdata_o = 32'(SEG_MAX);
        12'h14:  rdata_o = 32'(virtio_pkg::BLK_SECTOR_BYTES);
        12'h24:  rdata_o = virtio_pkg::BLK_MAX_RANGE_SECTORS;
        12'h28:  rdata_o = virtio_pkg::BLK_MAX_RANGES;
        12'h2c:  rdata_o = 32'd1;
        12'h30:  rdata_o = virtio_pkg::BLK_MAX_RANGE_SECTORS;
        12'h34:  rdata_o = virtio_pkg::BLK_MAX_RANGES;
        default: rdata_o = 32'd0;
      endcase
    end
  end
endmodule
