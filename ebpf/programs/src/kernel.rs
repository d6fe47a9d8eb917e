//! Reading the kernel's structures. Where members lie differs between kernels, so user space finds every
//! offset in the running kernel's BTF and sets it here before the programs are loaded.

use aya_ebpf::{Global, helpers::generated::bpf_probe_read_kernel};

/// Declares the offsets as read-only globals, one scalar each, which is what the verifier folds away.
macro_rules! offsets {
    ($($(#[$doc:meta])* $name:ident)*) => {
        $($(#[$doc])* #[unsafe(no_mangle)] pub(crate) static $name: Global<u32> = Global::new(0);)*
    };
}

offsets! {
    /// `sock_common.skc_daddr`
    OFF_DADDR
    /// `sock_common.skc_rcv_saddr`
    OFF_SADDR
    /// `sock_common.skc_dport`
    OFF_DPORT
    /// `sock_common.skc_family`
    OFF_FAMILY
    /// `sock_common.skc_net.net`
    OFF_NET
    /// `sock_common.skc_v6_daddr`
    OFF_V6_DADDR
    /// `sock_common.skc_v6_rcv_saddr`
    OFF_V6_SADDR
    /// `sock.sk_err`
    OFF_ERR
    /// `sock.sk_err_soft`
    OFF_ERR_SOFT
    /// `sock.sk_protocol`
    OFF_PROTOCOL
    /// `inet_sock.inet_sport`
    OFF_SPORT
    /// `inet_connection_sock.icsk_pending`
    OFF_PENDING
    /// `net.ns.inum`
    OFF_NETNS_INUM
    /// `task_struct.flags`
    OFF_TASK_FLAGS
    /// `task_struct.exit_code`
    OFF_TASK_EXIT_CODE
    /// `task_struct.files`
    OFF_TASK_FILES
    /// `files_struct.fdt`
    OFF_FILES_FDT
    /// `fdtable.fd`
    OFF_FDT_FD
    /// `file.private_data`
    OFF_FILE_PRIVATE
    /// `socket.sk`
    OFF_SOCKET_SK
    /// First argument of a system call in `pt_regs`, as it still stands there when the call returns.
    OFF_REGS_ARG0
    /// Second argument of a system call in `pt_regs`.
    OFF_REGS_ARG1
    /// `sock_common.skc_num`
    OFF_NUM
    /// `request_sock.num_retrans`
    OFF_REQ_RETRANS
    /// `sk_buff.sk`
    OFF_SKB_SK
    /// `sk_buff.dev`
    OFF_SKB_DEV
    /// `sk_buff.head`
    OFF_SKB_HEAD
    /// `sk_buff.network_header`
    OFF_SKB_NETWORK_HEADER
    /// `sk_buff.transport_header`
    OFF_SKB_TRANSPORT_HEADER
    /// `sock.sk_error_queue`
    OFF_ERROR_QUEUE
    /// `sock.sk_error_queue.prev`
    OFF_ERROR_QUEUE_PREV
    /// `sk_buff.cb`
    OFF_SKB_CB
    /// `sock_exterr_skb.ee`, from `sk_buff.cb` on
    OFF_EXTERR_EE
    /// `net_device.nd_net.net`
    OFF_DEV_NET
    /// `task_struct.mm`
    OFF_TASK_MM
    /// `mm_struct.exe_file`
    OFF_MM_EXE_FILE
    /// `mm_struct.start_code`
    OFF_MM_START_CODE
    /// `mm_struct.end_code`
    OFF_MM_END_CODE
    /// `file.f_path.mnt`
    OFF_FILE_MNT
    /// `file.f_path.dentry`
    OFF_FILE_DENTRY
    /// `dentry.d_inode`
    OFF_DENTRY_INODE
    /// `dentry.d_parent`
    OFF_DENTRY_PARENT
    /// `dentry.d_name.name`
    OFF_DENTRY_NAME
    /// `inode.i_ino`
    OFF_INODE_INO
    /// `inode.i_sb`
    OFF_INODE_SB
    /// `super_block.s_dev`
    OFF_SB_DEV
    /// `vfsmount.mnt_root`
    OFF_VFSMOUNT_ROOT
    /// `mount.mnt`, a `struct vfsmount`
    OFF_MOUNT_MNT
    /// `mount.mnt_parent`
    OFF_MOUNT_PARENT
    /// `mount.mnt_mountpoint`
    OFF_MOUNT_MOUNTPOINT
}

/// A read of kernel memory that failed: the address was not mapped.
pub(crate) struct Fault;

/// Where an attempt goes.
#[derive(Clone, Copy)]
pub(crate) struct Peer {
    /// Four words in network order; IPv4 as `::ffff:a.b.c.d`.
    pub(crate) addr: [u32; 4],
    /// Host order.
    pub(crate) port: u16,
}

/// Copies a `T` from kernel memory at `base + offset`.
#[inline(always)]
pub(crate) fn read<T: Copy>(base: u64, offset: &Global<u32>) -> Result<T, Fault> {
    read_at(base + u64::from(offset.load()))
}

/// Copies a `T` from kernel memory.
#[inline(always)]
pub(crate) fn read_at<T: Copy>(address: u64) -> Result<T, Fault> {
    let mut value = core::mem::MaybeUninit::<T>::uninit();
    // SAFETY: the destination is a T on our stack; the helper checks the source and fills all of it.
    unsafe {
        let source = address as *const core::ffi::c_void;
        let size = size_of::<T>() as u32;
        match bpf_probe_read_kernel(value.as_mut_ptr().cast(), size, source) {
            0 => Ok(value.assume_init()),
            _ => Err(Fault),
        }
    }
}

/// States of `enum tcp_state` that the programs look at (include/net/tcp_states.h).
pub(crate) mod state {
    pub(crate) const SYN_SENT: u64 = 2;
    pub(crate) const CLOSE: u64 = 7;
}

pub(crate) const AF_INET: u16 = 2;
/// Third word of a v4-mapped address, as it lies in memory.
pub(crate) const V4_MAPPED: u32 = 0xffff_0000;
const IPPROTO_TCP: u16 = 6;

/// True for plain TCP. MPTCP (262) and SCTP (132) sockets go through the same state changes, and an MPTCP
/// connection's TCP subflow passes here as well: counting both would tell one attempt twice.
#[inline(always)]
pub(crate) fn is_tcp(sock: u64) -> Result<bool, Fault> {
    Ok(read::<u16>(sock, &OFF_PROTOCOL)? == IPPROTO_TCP)
}

/// Reads an address pair member; IPv4 comes back as `::ffff:a.b.c.d`.
#[inline(always)]
fn address(sock: u64, v4: &Global<u32>, v6: &Global<u32>, family: u16) -> Result<[u32; 4], Fault> {
    if family == AF_INET { Ok(v4_mapped(read::<u32>(sock, v4)?)) } else { read::<[u32; 4]>(sock, v6) }
}

/// An IPv4 address in network order as an IPv6 one.
#[inline(always)]
pub(crate) fn v4_mapped(address: u32) -> [u32; 4] {
    [0, 0, V4_MAPPED, address]
}

/// Address family of a socket (AF_INET or AF_INET6).
#[inline(always)]
pub(crate) fn family(sock: u64) -> Result<u16, Fault> {
    read::<u16>(sock, &OFF_FAMILY)
}

/// Peer address as four words in network order. Request sockets start with the same members.
#[inline(always)]
pub(crate) fn peer_addr(sock: u64, family: u16) -> Result<[u32; 4], Fault> {
    address(sock, &OFF_DADDR, &OFF_V6_DADDR, family)
}

/// Local address as four words in network order.
#[inline(always)]
pub(crate) fn local_addr(sock: u64, family: u16) -> Result<[u32; 4], Fault> {
    address(sock, &OFF_SADDR, &OFF_V6_SADDR, family)
}

/// Peer port, host order.
#[inline(always)]
pub(crate) fn peer_port(sock: u64) -> Result<u16, Fault> {
    Ok(u16::from_be(read::<u16>(sock, &OFF_DPORT)?))
}

/// Local port, host order. `inet_sport` and not `skc_num`: at the change to CLOSE the latter is 0 already,
/// cleared by inet_put_port (6.18, net/ipv4/inet_hashtables.c).
#[inline(always)]
pub(crate) fn local_port(sock: u64) -> Result<u16, Fault> {
    Ok(u16::from_be(read::<u16>(sock, &OFF_SPORT)?))
}

/// Number of the socket's network namespace.
#[inline(always)]
pub(crate) fn netns(sock: u64) -> Result<u32, Fault> {
    read::<u32>(read::<u64>(sock, &OFF_NET)?, &OFF_NETNS_INUM)
}

/// Number of a network device's namespace; 0 without a device.
#[inline(always)]
pub(crate) fn netns_of_device(device: u64) -> Result<u32, Fault> {
    match device {
        0 => Ok(0),
        device => read::<u32>(read::<u64>(device, &OFF_DEV_NET)?, &OFF_NETNS_INUM),
    }
}
