//! mqadmin: see `ferrocket::admin`.

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    std::process::exit(ferrocket::admin::main(&words));
}
