//! Mistakes in the exploit and in sources that players may read.

use super::{Mutation, change};
use crate::rng::Rng;
use crate::specimen::Specimen;

/// Changes the exploit by replacing `from` with `to`.
fn exploit(it: &mut Specimen, from: &str, to: &str) -> Option<()> {
    let text = it.files.get_mut("solution/exploit.py")?;
    assert!(text.contains(from), "{from:?} is not in the exploit");
    *text = text.replace(from, to);
    Some(())
}

/// Adds a file below `services/web`.
fn source(it: &mut Specimen, name: &str, text: &str) -> Option<()> {
    it.compose.as_ref()?;
    it.files.insert(format!("services/web/{name}"), text.to_owned());
    Some(())
}

/// Words of the contract's second vocabulary, near misses among them.
const TOKENS: &[&str] = &[
    "OWASP",
    "CWE-79",
    "CWE-",
    "vulnerability",
    "insecure",
    "backdoored",
    "attacker",
    "exploitable",
    "SSRF",
    "ssti",
    "IDOR",
    "flag_stash",
    "flag stash",
    "vulnerable bit",
    "intentional",
    "deliberately insecure",
    "deliberately slow",
    "WAF",
    "wafer",
    "blacklisted",
    "whitelist",
    "wide byte",
    "widebyte",
    "keyword doubling",
    "case-shift",
    "quote_breakout",
    "boolean-based blind",
    "time-based",
    "union based",
    "stacked queries",
    "second-order",
    "parameter pollution",
    "HPP",
    "parser mismatch",
    "comment stripping",
    "whitespace-strip",
    "blind",
    "blindly",
    "keyword filter",
    "verb  strip",
    "string--pair",
    "half escaped",
    "partially",
    "strip all",
    "stripall",
    "waf-fronted",
    "firewall protected",
    "webshell",
    "image shell",
    "polyglot",
    "TOCTOU",
    "mime forgery",
    "content-type spoofing",
    "double extension",
    "trailing dot",
    "null-byte truncation",
    "null byte",
    "magic-byte sniffing",
    "%00",
    "file upload bypass",
    "file-upload trick",
    "extension gap",
    "bypass",
    "sanitize",
    "hardened",
    "race condition",
    "path traversal",
    "RCE1",
    "x_RCE_y",
];

fn token(rng: &mut Rng) -> &'static str {
    rng.pick::<&'static str>(TOKENS)
}

pub(super) const ALL: &[Mutation] = &[
    change("the exploit is no Python", |it, rng| {
        let text =
            *rng.pick(&["def run(:\n", "print 'x'\n", "class A:\npass\n", "x = (\n", "\u{0}"]);
        it.files.get_mut("solution/exploit.py").map(|file| *file = text.to_owned())
    }),
    change("the exploit is empty", |it, _| {
        it.files.get_mut("solution/exploit.py").map(String::clear)
    }),
    change("the exploit imports half", |it, rng| {
        let to = *rng.pick(&[
            "from ctfy.challenge.exploit import ExploitBase",
            "from ctfy.challenge.exploit import run_exploit",
            "import ctfy.challenge.exploit",
            "from ctfy.challenge import exploit",
            "from ctfy.challenge.exploit import *",
            "if True:\n    from ctfy.challenge.exploit import ExploitBase, run_exploit",
        ]);
        exploit(it, "from ctfy.challenge.exploit import ExploitBase, run_exploit", to)
    }),
    change("the exploit imports in another form", |it, rng| {
        let to = *rng.pick(&[
            "from ctfy.challenge.exploit import (\n    ExploitBase,\n    run_exploit,\n)",
            "from ctfy.challenge.exploit import ExploitBase as Base, run_exploit as go",
            "from ctfy.challenge.exploit import ExploitBase\nfrom ctfy.challenge.exploit import run_exploit",
        ]);
        exploit(it, "from ctfy.challenge.exploit import ExploitBase, run_exploit", to)
    }),
    change("the exploit's class is another", |it, rng| {
        let to = *rng.pick(&[
            "class Solve(ExploitBase):",
            "class Exploit:",
            "class Exploit(object):",
            "class exploit(ExploitBase):",
            "class Exploit(Base[ExploitBase]):",
        ]);
        exploit(it, "class Exploit(ExploitBase):", to)
    }),
    change("the exploit's class in another form", |it, rng| {
        let to = *rng.pick(&[
            "class Exploit(mixin.Helper, base.ExploitBase):",
            "class Exploit(ExploitBase, metaclass=type):",
            "@decorated\nclass Exploit(ExploitBase):",
        ]);
        exploit(it, "class Exploit(ExploitBase):", to)
    }),
    change("the exploit does not run", |it, rng| {
        let to = *rng.pick(&["def go(self)", "async def run(self)", "def Run(self)"]);
        exploit(it, "def run(self)", to)
    }),
    change("the exploit has no main", |it, rng| {
        let to = *rng.pick(&[
            "if True:",
            "if '__main__' == __name__:",
            "if __name__ == '__mains__':",
            "if __name__ != '__main__':",
            "def main():",
            "if __name__ == '__main__' and True:",
        ]);
        exploit(it, "if __name__ == \"__main__\":", to)
    }),
    change("main does not run the exploit", |it, rng| {
        let to = *rng.pick(&[
            "Exploit().run()",
            "pass",
            "run_exploit",
            "exploit.run_exploit(Exploit)",
            "sys.exit(run_exploit(Exploit))",
            "for _ in range(2):\n        run_exploit(Exploit)",
        ]);
        exploit(it, "run_exploit(Exploit)", to)
    }),
    change("the exploit reads the answer", |it, rng| {
        let line = *rng.pick(&[
            "x = os.environ['ANSWER_FLAG']",
            "x = open('/answers/flag')",
            "x = f'/answers/{name}'",
            "x = f\"ANSWER_{name}\"",
            "x = '''\nANSWER_\n'''",
            "def f():\n    \"\"\"Reads /answers/ first.\"\"\"",
            "# ANSWER_FLAG",
            "x = ANSWER_FLAG",
            "x = b'ANSWER_FLAG'",
            "x = 'ANSWER' '_FLAG'",
            "x = r'\\ANSWER_'",
        ]);
        exploit(it, "\n\nif __name__", &format!("\n{line}\n\nif __name__"))
    }),
    change("a flag in a source", |it, rng| {
        let body = *rng.pick(&[
            "FLAG{real-value}",
            "FLAG{sample-flag}",
            "FLAG{sample_Main_Answer}",
            "FLAG{123e4567-e89b-12d3-a456-426614174000}",
            "FLAG{%s}",
            "FLAG{%d%d}",
            "FLAG{$ANSWER_FLAG}",
            "FLAG{${ANSWER_FLAG}}",
            "FLAG{<your flag>}",
            "FLAG{__ANSWER_FLAG__}",
            "FLAG{}",
            "flag{lower}",
            "FLAG{a\nb}",
            "FLAG{0123456789abcdef0123456789abcdef}",
        ]);
        let name = *rng.pick(&["a.py", "notes.txt", "x.php", "lib/deep.rb", "Makefile"]);
        source(it, name, &format!("first line\nx = '{body}'\n"))
    }),
    change("a flag where nobody looks", |it, rng| {
        let name =
            *rng.pick(&["a.png", "package-lock.json", "app.min.js", "x.bundle.css", "y.lock"]);
        source(it, name, "FLAG{real-value}\n")
    }),
    change("a placeholder of an f-string", |it, _| source(it, "flag.py", "x = f'FLAG{{name}}'\n")),
    change("a comment gives the weakness away", |it, rng| {
        let word = token(rng);
        let line = match rng.below(7) {
            0 => format!("# the {word} here"),
            1 => format!("   // {word}"),
            2 => format!("/* {word} */"),
            3 => format!("/*\n  first\n  {word}\n*/\ncode();"),
            4 => format!("<!-- {word}"),
            5 => format!(" * {word}"),
            _ => format!("code(); // {word}"),
        };
        let name = *rng.pick(&["a.py", "a.js", "a.go", "b.html", "run.sh", "c.c", "noext"]);
        source(it, name, &format!("start\n{line}\nend\n"))
    }),
    change("a page gives the weakness away", |it, rng| {
        let word = token(rng);
        let (name, text) = match rng.below(12) {
            0 => ("a.html", format!("<p>\n{word}</p>\n")),
            1 => ("a.php", format!("<p>{word}</p><?php echo 1; ?>\n")),
            2 => ("a.php", format!("<?php echo 'hello to the {word}'; ?>\n")),
            3 => ("a.php", format!("<?php $x = {word}; ?>\n")),
            4 => ("a.vue", format!("<script>{word}</script><template><p>{word}</p></template>\n")),
            5 => ("a.py", format!("x = \"\"\"a long text of several words {word} end\"\"\"\n")),
            6 => ("a.py", format!("x = 'a long text of several words {word} end'\n")),
            7 => ("a.py", format!("x = 'short {word}'\n")),
            8 => ("a.jsx", format!("<p>Hello {word}</p>\n")),
            9 => ("a.tsx", format!("const x = 'a long text of several words {word} end';\n")),
            10 => ("a.js", format!("const x = \"a long text of several words {word} end\";\n")),
            _ => ("a.svelte", format!("<p>{word}</p>\n")),
        };
        source(it, name, &text)
    }),
    change("a page names a route", |it, rng| {
        let path = *rng.pick(&[
            "/api/users",
            "/internal/x",
            "/admin/panel",
            "/api/health",
            "/api/ping",
            "/api/healthz2",
            "x/api/y",
            "/adminx/y",
            "/api/",
        ]);
        let (name, text) = match rng.below(7) {
            0 => ("a.html", format!("<a href='{path}'>x</a>\n")),
            1 => ("a.js", format!("fetch('a long text of several words {path}')\n")),
            2 => ("a.jsx", format!("<a href=\"{path}\">x</a>\n")),
            3 => ("a.py", format!("x = 'a long text of several words {path}'\n")),
            4 => ("a.py", format!("@app.get('{path}/a/very/long/route/of/many/words')\n")),
            5 => ("a.php", format!("<a href='{path}'>x</a>\n")),
            _ => ("a.txt", format!("{path}\n")),
        };
        source(it, name, &text)
    }),
    change("a folder that documents", |it, rng| {
        let name = *rng.pick(&["docs", "Help", "swagger", "api-docs", "document", "FAQ"]);
        source(it, &format!("{name}/x.txt"), "x\n")
    }),
    change("a route that documents", |it, rng| {
        let word = *rng.pick(&["docs", "help", "openapi", "Swagger", "docsy", "release-notes"]);
        let (name, text) = match rng.below(6) {
            0 => ("a.py", format!("@app.route('/{word}')\ndef x(): pass\n")),
            1 => ("a.py", format!("@router.get(\"/{word}/x\")\n")),
            2 => ("a.js", format!("app.get('/{word}', x)\n")),
            3 => ("a.ts", format!("router.use(`/{word}`, x)\n")),
            4 => ("a.rb", format!("get '/{word}' do\n")),
            _ => ("a.go", format!("app.Get(\"/{word}\", x)\n")),
        };
        source(it, name, &text)
    }),
];
