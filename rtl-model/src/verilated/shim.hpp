// A verilated model behind plain functions. Generated code includes it in front of its table of ports.
// What a design says goes to the error stream; what ends it, $finish, $stop, $fatal, an error of
// Verilator's, comes out of `vtb_eval` as a text.
#include <cstdint>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>

#include "Vtop.h"
#include "verilated.h"
#if VM_TRACE_FST
#include "verilated_fst_c.h"
#endif

namespace {

struct Stopped : std::runtime_error {
    using std::runtime_error::runtime_error;
};

[[noreturn]] void stop(const char* what, const char* file, int line) {
    std::string text = what;
    if (file && *file) text = std::string{file} + ":" + std::to_string(line) + ": " + text;
    throw Stopped{text};
}

struct Bench {
    VerilatedContext context;
    std::unique_ptr<Vtop> top;
#if VM_TRACE_FST
    std::unique_ptr<VerilatedFstC> waves;
#endif
    std::string stopped;
    bool finished = false;
};

template <typename Body>
int guarded(Bench* bench, Body body) {
    Verilated::threadContextp(&bench->context);
    try {
        body();
        return 0;
    } catch (const std::exception& error) {
        bench->stopped = error.what();
    } catch (...) {
        bench->stopped = "an unknown exception";
    }
    return 1;
}

}  // namespace

void vl_finish(const char* file, int line, const char*) { stop("$finish", file, line); }
void vl_stop(const char* file, int line, const char*) { stop("$stop or $fatal", file, line); }
void vl_fatal(const char* file, int line, const char*, const char* what) { stop(what, file, line); }

#define VTB_EXPORT extern "C" __attribute__((visibility("default")))

VTB_EXPORT Bench* vtb_new() {
    try {
        auto bench = std::make_unique<Bench>();
        // Verilog's own random numbers are the same in every run.
        bench->context.randSeed(1);
#if VM_TRACE_FST
        bench->context.traceEverOn(true);
#endif
        Verilated::threadContextp(&bench->context);
        bench->top = std::make_unique<Vtop>(&bench->context, "TOP");
        return bench.release();
    } catch (...) {
        return nullptr;
    }
}

VTB_EXPORT int vtb_eval(Bench* bench) {
    return guarded(bench, [=] { bench->top->eval(); });
}

VTB_EXPORT const char* vtb_stopped(Bench* bench) { return bench->stopped.c_str(); }

VTB_EXPORT void vtb_set_time(Bench* bench, uint64_t ps) { bench->context.time(ps); }

VTB_EXPORT int vtb_waves_open(Bench* bench, const char* path) {
#if VM_TRACE_FST
    return guarded(bench, [=] {
        bench->waves = std::make_unique<VerilatedFstC>();
        bench->top->trace(bench->waves.get(), 99);
        bench->waves->open(path);
        if (!bench->waves->isOpen()) throw Stopped{"cannot be written"};
    });
#else
    (void)bench, (void)path;
    return 2;
#endif
}

VTB_EXPORT int vtb_waves_dump(Bench* bench, uint64_t ps) {
#if VM_TRACE_FST
    return guarded(bench, [=] {
        if (bench->waves) bench->waves->dump(ps);
    });
#else
    (void)bench, (void)ps;
    return 2;
#endif
}

VTB_EXPORT int vtb_waves_close(Bench* bench) {
#if VM_TRACE_FST
    return guarded(bench, [=] {
        if (bench->waves) bench->waves->close();
        bench->waves.reset();
    });
#else
    (void)bench;
    return 2;
#endif
}

VTB_EXPORT void vtb_delete(Bench* bench) {
    // A design that was stopped half-way has no end of its own.
    if (bench->stopped.empty()) guarded(bench, [=] { bench->top->final(); });
    vtb_waves_close(bench);
    guarded(bench, [=] { bench->top.reset(); });
    delete bench;
    Verilated::threadContextp(nullptr);
}
