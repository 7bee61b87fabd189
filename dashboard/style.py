"""The style sheet: widths, stacking below 900 px, and how tokens look. Colours follow the theme."""

from __future__ import annotations

SHEET = """<style>
.stMainBlockContainer { max-width: 1280px; padding: 2.6rem 2.5rem 4rem; }
[data-testid="stSidebarHeader"] { height: 2.6rem; padding-bottom: 0; margin-bottom: 0; }
.stMainBlockContainer h1 { font-size: 1.75rem; padding: 0 0 .1rem; }
.stMainBlockContainer h3 { font-size: 1.05rem; padding: .1rem 0 .3rem; }
.qk-brand { font-weight: 700; font-size: 1.15rem; margin: 0 0 .4rem; letter-spacing: .01em; }
.qk-group { font-size: .8rem; opacity: .65; margin: .7rem 0 0; }
.qk-note { font-size: .875rem; opacity: .72; margin: 0; overflow-wrap: anywhere; }
.qk-sentence { font-size: 1rem; margin: 0; overflow-wrap: anywhere; }
.qk-tokens { font-family: "Source Code Pro", monospace; font-size: .84rem; line-height: 1.9; overflow-wrap: anywhere; }
.qk-token { padding: .12rem .22rem; margin-right: .1rem; border-radius: .2rem; white-space: pre-wrap; \
unicode-bidi: isolate;
  background: color-mix(in srgb, #0072B2 calc(var(--qk-share, 0%) * .6), transparent); }
.qk-gap { opacity: .75; font-size: .75rem; padding: 0 .4rem; }
.qk-query { outline: 2px solid #D55E00; }
.qk-positive { outline: 2px solid #0072B2; background: color-mix(in srgb, #0072B2 25%, transparent); }
.qk-negative { outline: 2px dashed #E69F00; background: color-mix(in srgb, #E69F00 25%, transparent); }
.qk-key { outline: 2px dotted #009E73; background: color-mix(in srgb, #009E73 25%, transparent); }
.qk-token[style] { background: color-mix(in srgb, #0072B2 calc(var(--qk-share, 0%) * .6), transparent); }
.qk-facts { font-size: .875rem; border-collapse: collapse; }
.qk-facts th, .qk-facts td { text-align: left; padding: .12rem .9rem .12rem 0; font-weight: 400; vertical-align: top; }
.qk-facts td:nth-child(3) { overflow-wrap: anywhere; }
.qk-facts th, .qk-facts td + td { opacity: .7; }
.qk-facts td:nth-child(2) { font-weight: 600; opacity: 1; overflow-wrap: anywhere; min-width: 4.6rem; }
.stMain [data-testid="stPageLink"] p, .stMain [data-testid="stPageLink"] span \
{ white-space: normal; overflow: visible; }
[data-testid="stVegaLiteChart"], .stVegaLiteChart { max-width: 100%; overflow-x: auto; overflow-y: hidden; }
.stMain [data-testid="stBaseButton-primary"], .stMain [data-testid="stBaseButton-primary"] p, \
.stMain [data-testid="stMultiSelect"] [data-tag], .stMain [data-testid="stMultiSelect"] [data-tag] * \
{ color: light-dark(#FFFFFF, #0B0F14) !important; }
[data-testid="stMetricDelta"] { border-radius: .5rem !important; }
[data-testid="stMetric"] > div { padding: .7rem 1rem; }
[data-testid="stMetricDelta"], [data-testid="stMetricDelta"] * \
{ white-space: normal !important; text-overflow: clip !important; overflow-wrap: break-word; height: auto; }
.stMain [data-testid="stPageLink"] p { color: light-dark(#0072B2, #56B4E9); }
[data-testid="stMetricValue"] { font-size: 1.5rem; }
@media (max-width: 900px) {
  [data-testid="stHorizontalBlock"] { flex-wrap: wrap; }
  [data-testid="stHorizontalBlock"] > [data-testid="stColumn"] \
{ min-width: calc(50% - 1rem); flex: 1 1 calc(50% - 1rem); }
  [class*="st-key-panels"] > * > [data-testid="stColumn"], \
[class*="st-key-panels"] [data-testid="stHorizontalBlock"] > [data-testid="stColumn"] { min-width: 100%; }
  [class*="st-key-panels"] [class*="st-key-condition-"] [data-testid="stHorizontalBlock"], \
[class*="st-key-panels"] [class*="st-key-matrices"] [data-testid="stHorizontalBlock"] \
{ flex-wrap: nowrap; gap: .4rem; }
  [class*="st-key-panels"] [class*="st-key-matrices"] [data-testid="stColumn"] { min-width: 0; flex: 1 1 0; }
  [class*="st-key-panels"] [class*="st-key-condition-"] [data-testid="stColumn"] { min-width: 0; flex: 3 1 0; }
  [class*="st-key-panels"] [class*="st-key-condition-"] [data-testid="stColumn"]:last-child { flex: 0 0 2.5rem; }
}
</style>"""
