//! How a process takes memory from its system and gives it back.

mod page_buffer;

pub use page_buffer::PageBuffer;

/// Buffers of so many bytes go back to the system as soon as they are free.
#[cfg(target_env = "gnu")]
const LARGE_BYTES: libc::c_int = 1 << 20;

/// Has large buffers given back to the system when they are freed. Left alone, glibc raises its limit with each large buffer
/// that is freed, up to 32 MiB, and keeps what is below it in a heap for each thread: what a restore takes then grows by half
/// and differs from run to run. See `M_MMAP_THRESHOLD` in
/// [mallopt(3)](https://man7.org/linux/man-pages/man3/mallopt.3.html). Elsewhere it does nothing.
///
/// Whoever works with a vault calls it first of all; services do by the `main` that they share.
pub fn give_large_buffers_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the call takes numbers, and changes one of the allocator's own, under its own lock. That it refuses is no error:
    // memory is larger then, not wrong.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BYTES);
    }
}
