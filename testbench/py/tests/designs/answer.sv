// Answers what it is given: each output is, one clock later, its input plus one, and the last one unknown while
// `hide_i` is set.
module answer (
    input  logic         clk_i,
    input  logic         rst_ni,
    input  logic         hide_i,
    input  logic         d1_i,
    input  logic [7:0]   d8_i,
    input  logic [32:0]  d33_i,
    input  logic [511:0] d512_i,
    output logic         q1_o,
    output logic [7:0]   q8_o,
    output logic [32:0]  q33_o,
    output logic [511:0] q512_o,
    output logic [31:0]  edges_o
);

    always_ff @(posedge clk_i) begin
        if (!rst_ni) begin
            q1_o    <= 1'b0;
            q8_o    <= 8'h0;
            q33_o   <= 33'h0;
            q512_o  <= 512'h0;
            edges_o <= 32'h0;
        end else begin
            q1_o    <= ~d1_i;
            q8_o    <= hide_i ? 8'bxxxx_0001 : d8_i + 8'h1;
            q33_o   <= d33_i + 33'h0_ffff_ffff;
            // All its words change in every step.
            q512_o  <= {d512_i[510:0], ~d512_i[511]} + {16{32'h0001_0001}};
            edges_o <= edges_o + 32'h1;
        end
    end

endmodule
