//! Asks PREVAIL, a verifier by abstract interpretation, about the programs of an object. Where it lacks words
//! for what the kernel allows, it is told the nearest thing that is not weaker, here and nowhere else.

use prevail::{
    crab::{ebpf_domain::DomainContext, var_registry::VariableRegistry},
    elf_loader::read_elf,
    fwd_analyzer,
    ir::{program::Program, syntax::Call, unmarshal::unmarshal},
    linux::{linux_platform::LinuxPlatform, spec_prototypes::HelperPrototype},
    platform::EbpfPlatform,
    spec::{
        config::{EbpfRuntimeConfig, EbpfVerifierOptions},
        ebpf_base::{EbpfArgumentType, EbpfReturnType},
        type_descriptors::{EbpfMapDescriptor, EbpfMapType, EbpfProgramType, ProgramInfo, RawProgram},
    },
};

const GET_CURRENT_TASK_BTF: i32 = 158;
const TASK_PT_REGS: i32 = 175;
const RINGBUF_RESERVE: i32 = 131;
const RINGBUF_SUBMIT: i32 = 132;
const MAP_TYPE_RINGBUF: u32 = 27;

/// What PREVAIL says of one program.
pub struct Verdict {
    /// Name of the program.
    pub program: String,
    /// Everything that it cannot prove, with the instruction's place.
    pub complaints: Vec<String>,
}

/// Verifies every program of an object, and that it ends. `room` is what the programs reserve in ring buffers.
///
/// # Panics
///
/// When PREVAIL cannot read the object at all.
pub fn verify(object: &[u8], room: usize) -> Vec<Verdict> {
    verify_section(object, room, "")
}

/// What PREVAIL cannot prove of one program.
///
/// # Panics
///
/// When PREVAIL cannot read the object at all, or it has no such program.
pub fn verify_one(object: &[u8], room: usize, program: &str) -> Vec<String> {
    let parsed = bpf_lab::Object::parse(object).expect("an object");
    let section = parsed.program(program).map(|program| program.section.clone()).expect("a program");
    verify_section(object, room, &section).into_iter().flat_map(|verdict| verdict.complaints).collect()
}

/// Verifies the programs of a section, or of all when it has no name.
fn verify_section(object: &[u8], room: usize, section: &str) -> Vec<Verdict> {
    let runtime = EbpfRuntimeConfig { check_for_termination: true, ..EbpfRuntimeConfig::default() };
    let options = EbpfVerifierOptions { runtime, mock_map_fds: true, ..EbpfVerifierOptions::default() };
    let mut linux = LinuxPlatform::new();
    let programs =
        read_elf(object, "object", section, "", &options, &mut linux).expect("PREVAIL reads the object");
    let attached = programs.into_iter().filter(|program| program.section_name != ".text");
    attached.map(|program| verify_program(program, room, &options)).collect()
}

fn verify_program(mut raw: RawProgram, room: usize, options: &EbpfVerifierOptions) -> Verdict {
    // Tracing needs CAP_PERFMON, which lets programs know addresses.
    raw.info.program_type.is_privileged = true;
    for map in raw.info.map_descriptors.iter_mut().filter(|map| map.map_type == MAP_TYPE_RINGBUF) {
        map.value_size = u32::try_from(room).expect("records are small");
    }
    let platform = Platform::new(&raw);
    let complain = |raw: &mut RawProgram, options: &EbpfVerifierOptions| {
        complaints(raw, &platform, options).unwrap_or_else(|refusal| vec![refusal])
    };
    let mut complaints = complain(&mut raw, options);
    if complaints.iter().any(|complaint| complaint.contains("Loop counter")) {
        // A loop without an end that is known must not hide what comes after it.
        let runtime = EbpfRuntimeConfig { check_for_termination: false, ..options.runtime };
        complaints.extend(complain(&mut raw, &EbpfVerifierOptions { runtime, ..*options }));
    }
    Verdict { program: raw.function_name, complaints }
}

fn complaints(
    raw: &mut RawProgram,
    platform: &Platform,
    options: &EbpfVerifierOptions,
) -> Result<Vec<String>, String> {
    let mut notes = Vec::new();
    let sequence =
        unmarshal(&raw.prog, &mut notes, &raw.info, platform, options).map_err(|it| it.to_string())?;
    let program =
        Program::from_sequence(&sequence, &mut raw.info, platform, options).map_err(|it| it.to_string())?;
    let context = DomainContext {
        program_info: &raw.info,
        program: &program,
        runtime: &options.runtime,
        options,
        platform,
    };
    let result = fwd_analyzer::analyze(&program, &context, &mut VariableRegistry::new());
    let found = result.find_first_error().map(|error| error.to_string());
    Ok(if result.failed { vec![found.unwrap_or_else(|| "no reason given".into())] } else { Vec::new() })
}

/// Linux as PREVAIL knows it, with four helpers told differently.
struct Platform {
    linux: LinuxPlatform,
    reserve: HelperPrototype,
    submit: HelperPrototype,
    address: HelperPrototype,
}

impl Platform {
    fn new(raw: &RawProgram) -> Self {
        use EbpfArgumentType::{Anything, DontCare, PtrToMap};
        let mut linux = LinuxPlatform::new();
        linux.map_descriptors.clone_from(&raw.info.map_descriptors);
        linux.set_program_type(&raw.info.program_type);
        let told = |number, return_type, argument_type| {
            let known = linux.get_helper_prototype(number);
            HelperPrototype { return_type, argument_type, ..copy(known) }
        };
        // Room in a ring buffer is memory to which PREVAIL lets nothing be added; a map's value is the same
        // with that. That it is given back, the interpreter checks.
        let value = EbpfReturnType::PtrToMapValueOrNull;
        let reserve = told(RINGBUF_RESERVE, value, [PtrToMap, Anything, Anything, DontCare, DontCare]);
        let number = EbpfReturnType::Integer;
        let submit = told(RINGBUF_SUBMIT, number, [Anything, Anything, DontCare, DontCare, DontCare]);
        // Addresses in the kernel that are read through helpers only.
        let address = told(TASK_PT_REGS, number, [DontCare; 5]);
        Self { linux, reserve, submit, address }
    }
}

fn copy(known: &HelperPrototype) -> HelperPrototype {
    HelperPrototype {
        name: known.name,
        return_type: known.return_type,
        argument_type: known.argument_type,
        reallocate_packet: known.reallocate_packet,
        ctx_descriptor: known.ctx_descriptor,
        unsupported: known.unsupported,
        might_sleep: known.might_sleep,
        zero_args_mask: known.zero_args_mask,
        allowed_map_types: known.allowed_map_types,
    }
}

impl EbpfPlatform for Platform {
    fn get_helper_prototype(&self, n: i32) -> &HelperPrototype {
        match n {
            RINGBUF_RESERVE => &self.reserve,
            RINGBUF_SUBMIT => &self.submit,
            GET_CURRENT_TASK_BTF | TASK_PT_REGS => &self.address,
            _ => self.linux.get_helper_prototype(n),
        }
    }

    fn try_get_helper_prototype(&self, n: i32) -> Option<&HelperPrototype> {
        self.linux.try_get_helper_prototype(n).map(|_| self.get_helper_prototype(n))
    }

    fn is_helper_usable(&self, n: i32) -> bool {
        [GET_CURRENT_TASK_BTF, TASK_PT_REGS].contains(&n) || self.linux.is_helper_usable(n)
    }

    fn get_program_type(&self, section: &str, path: &str) -> EbpfProgramType {
        self.linux.get_program_type(section, path)
    }

    fn resolve_builtin_call(&self, name: &str) -> Option<i32> {
        self.linux.resolve_builtin_call(name)
    }

    fn get_builtin_call(&self, id: i32) -> Option<Call> {
        self.linux.get_builtin_call(id)
    }

    fn resolve_kfunc_call(&self, btf_id: i32, module: i16, info: &ProgramInfo) -> Result<Call, String> {
        self.linux.resolve_kfunc_call(btf_id, module, info)
    }

    fn map_record_size(&self) -> usize {
        self.linux.map_record_size()
    }

    fn parse_maps_section(
        &mut self,
        descriptors: &mut Vec<EbpfMapDescriptor>,
        data: &[u8],
        record_size: usize,
        count: usize,
        options: &EbpfVerifierOptions,
    ) {
        self.linux.parse_maps_section(descriptors, data, record_size, count, options);
    }

    fn resolve_inner_map_references(
        &self,
        descriptors: &mut Vec<EbpfMapDescriptor>,
    ) -> Result<(), prevail::elf_loader::UnmarshalError> {
        self.linux.resolve_inner_map_references(descriptors)
    }

    fn get_map_descriptor(&self, map_fd: i32) -> Option<&EbpfMapDescriptor> {
        self.linux.get_map_descriptor(map_fd)
    }

    fn get_map_type(&self, platform_specific_type: u32) -> EbpfMapType {
        self.linux.get_map_type(platform_specific_type)
    }

    fn supported_conformance_groups(&self) -> u32 {
        self.linux.supported_conformance_groups()
    }
}
