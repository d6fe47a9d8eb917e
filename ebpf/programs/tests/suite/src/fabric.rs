//! Puts what a case consists of into kernel memory, whoever provides it.

use std::collections::BTreeMap;

use crate::{
    case::{Case, Index},
    fixtures::Kernel,
    things::{self, Packet, Piece, Socket},
};

/// Kernel memory that a test may write.
pub trait Memory {
    /// Makes a piece of memory and returns its address in the kernel.
    fn add(&mut self, piece: &Piece) -> u64;

    /// Overwrites a piece.
    fn put(&mut self, address: u64, piece: &Piece);
}

/// Where everything lies.
#[derive(Clone, Debug, Default)]
pub struct Fabric {
    /// Namespaces, by number.
    nets: BTreeMap<u32, u64>,
    /// The case's sockets.
    pub sockets: Vec<u64>,
    /// Its requests.
    pub requests: Vec<u64>,
    /// Its packets.
    pub packets: Vec<u64>,
}

impl Fabric {
    /// Fabricates everything of a case.
    pub fn new(kernel: &Kernel, case: &Case, memory: &mut impl Memory) -> Self {
        let mut fabric = Self::default();
        for (index, socket) in case.sockets.iter().enumerate() {
            let net = fabric.net(kernel, socket.netns, memory);
            fabric.sockets.push(memory.add(&socket.to_bytes(kernel, net, 0)));
            // An empty queue points to itself, and only now it is known where that is.
            fabric.change(kernel, index, socket, memory);
        }
        for request in &case.requests {
            let net = fabric.net(kernel, request.netns, memory);
            fabric.requests.push(memory.add(&request.to_request(kernel, net)));
        }
        for packet in &case.packets {
            let address = fabric.packet(kernel, packet, memory);
            fabric.packets.push(address);
        }
        fabric
    }

    fn packet(&mut self, kernel: &Kernel, packet: &Packet, memory: &mut impl Memory) -> u64 {
        let sock = packet.sock.map_or(0, |sock| self.sockets[sock]);
        let head = memory.add(&packet.headers());
        let device = packet.device.map_or(0, |netns| {
            let net = self.net(kernel, netns, memory);
            memory.add(&things::device(kernel, net))
        });
        memory.add(&packet.to_bytes(kernel, sock, device, head))
    }

    fn net(&mut self, kernel: &Kernel, number: u32, memory: &mut impl Memory) -> u64 {
        *self.nets.entry(number).or_insert_with(|| memory.add(&things::net(kernel, number)))
    }

    /// Makes a socket another one, where it lies.
    pub fn change(&mut self, kernel: &Kernel, index: Index, socket: &Socket, memory: &mut impl Memory) {
        let net = self.net(kernel, socket.netns, memory);
        let queue = self.sockets[index] + kernel.offset("sock", "sk_error_queue") as u64;
        let last = socket.queued.map_or(queue, |queued| {
            let head = memory.add(&queued.header());
            memory.add(&queued.to_bytes(kernel, head))
        });
        memory.put(self.sockets[index], &socket.to_bytes(kernel, net, last));
    }
}
