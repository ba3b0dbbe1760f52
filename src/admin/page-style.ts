/** The style sheet of the operator's page. */
export const pageStyle = `:root{color-scheme:light dark;--back:#f3f4f6;--card:#fff;--text:#1b1b1f;--soft:#4b4f58;--line:#d5d8de;--accent:#0b5cad;--on:#fff;--good:#1a6b35;--bad:#a8201a}
@media (prefers-color-scheme:dark){:root{--back:#16181d;--card:#22252c;--text:#f2f2f5;--soft:#c0c4cd;--line:#41454f;--accent:#8cc4ff;--on:#10131a;--good:#8fdba5;--bad:#ffb0a8}}
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--text);font:1rem/1.5 system-ui,sans-serif}
header,main{max-width:72rem;margin:0 auto;padding:0 1rem}
header{padding-top:1rem}
h1{font-size:1.5rem;line-height:1.25;margin:0}
h2{font-size:1.2rem;margin:0 0 .75rem}
h3{font-size:1rem;margin:1rem 0 .25rem;overflow-wrap:anywhere}
section{margin:1rem 0;padding:1rem;background:var(--card);border:1px solid var(--line);border-radius:.5rem}
p{margin:0 0 .75rem;overflow-wrap:anywhere}
ul{margin:0 0 .75rem;padding-left:1.25rem;overflow-wrap:anywhere}
dl{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:.25rem 1rem;margin:0}
dt{color:var(--soft)}
dd{margin:0;overflow-wrap:anywhere}
.table{overflow-x:auto;margin-bottom:.75rem}
table{border-collapse:collapse;width:100%;font-size:.9rem}
caption{text-align:left;color:var(--soft);padding-bottom:.25rem}
th,td{text-align:left;vertical-align:top;padding:.3rem .6rem .3rem 0;border-bottom:1px solid var(--line);overflow-wrap:anywhere;min-width:6.5rem}
th,td:first-child,.id{overflow-wrap:normal}
nav,.pages{display:flex;flex-wrap:wrap;gap:.25rem 1rem}
a{color:var(--accent)}
:focus-visible{outline:3px solid var(--accent);outline-offset:2px}
label{display:block;margin-bottom:.25rem}
input,select,textarea,button{font:inherit;color:inherit;background:var(--back);border:1px solid var(--soft);border-radius:.25rem;padding:.4rem .6rem;max-width:100%}
textarea{width:100%;min-height:6rem;font-family:ui-monospace,monospace;font-size:.85rem}
button{background:var(--accent);color:var(--on);border-color:var(--accent);cursor:pointer}
.row{display:flex;flex-wrap:wrap;gap:.75rem;align-items:end;margin-bottom:.75rem}
.row>div{min-width:0;max-width:100%}
.soft{color:var(--soft)}
.good{color:var(--good)}
.bad{color:var(--bad);font-weight:600}
.check{border-top:1px solid var(--line);padding:.5rem 0}
.check h3{margin:0}
#notice:empty{display:none}
@media print{:root{--back:#fff;--card:#fff;--text:#000;--soft:#333;--line:#999;--accent:#000;--good:#000;--bad:#000}nav,form,.pages{display:none}section{border:0;padding:0}.table{overflow:visible}th,td,td:first-child,.id{overflow-wrap:anywhere}thead{display:table-header-group}tr{break-inside:avoid}}
@media (max-width:40rem){dl{grid-template-columns:minmax(0,1fr)}dd{margin-bottom:.5rem}}
`
