#include "worker/report/html.h"

#include <stdint.h>
#include <string.h>

/* Length of the UTF-8 sequence at p, or 0: RFC 3629's table of well-formed sequences. */
static int utf8_length(const unsigned char *p) {
    if (p[0] < 0x80) return 1;
    int n = p[0] >= 0xc2 && p[0] <= 0xdf ? 2 : (p[0] & 0xf0) == 0xe0 ? 3 : p[0] >= 0xf0 ? 4 : 0;
    if (n == 0 || p[0] > 0xf4) return 0;
    for (int i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80) return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f)) return 0;
    if ((p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f)) return 0;
    return n;
}

void wk_html_text(FILE *out, const char *text) {
    const unsigned char *p = (const unsigned char *)text;
    while (*p != '\0') {
        int n = utf8_length(p);
        switch (*p) {
        case '&':
            fputs("&amp;", out);
            break;
        case '<':
            fputs("&lt;", out);
            break;
        case '>':
            fputs("&gt;", out);
            break;
        case '"':
            fputs("&quot;", out);
            break;
        case '\'':
            fputs("&#39;", out);
            break;
        default:
            if (n == 0 || (*p < 0x20 && strchr("\t\n", *p) == NULL) || *p == 0x7f)
                fputs("&#xfffd;", out);
            else
                fwrite(p, 1, (size_t)n, out);
        }
        p += n > 0 ? n : 1;
    }
}

void wk_html_base64(FILE *out, const void *data, size_t bytes) {
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *p = data;
    for (size_t i = 0; i < bytes; i += 3) {
        size_t n = bytes - i < 3 ? bytes - i : 3;
        uint32_t v =
            (uint32_t)p[i] << 16 | (n > 1 ? (uint32_t)p[i + 1] << 8 : 0) | (n > 2 ? p[i + 2] : 0);
        char four[4] = {digit[v >> 18], digit[v >> 12 & 63], n > 1 ? digit[v >> 6 & 63] : '=',
                        n > 2 ? digit[v & 63] : '='};
        fwrite(four, 1, 4, out);
    }
}

static const char shared_style[] =
    ":root{color-scheme:light dark;--bg:#f6f5f1;--card:#fff;--ink:#1d1d1b;--soft:#6d6a63;"
    "--line:#e3e0d7;--fill:#eeece5;--tab:#fff;--accent:#d97706;--good:#15824d;--bad:#c8324b;"
    "--shadow:0 1px 2px #0000000d,0 8px 24px #0000000f}\n"
    "@media(prefers-color-scheme:dark){:root{--bg:#0f1115;--card:#181b21;--ink:#eceae4;"
    "--soft:#9b988f;--line:#2a2e37;--fill:#22262e;--tab:#363c48;--accent:#ffb224;--good:#3dd68c;--"
    "bad:#ff7189;"
    "--shadow:0 1px 2px #0006,0 8px 24px #0005}}\n"
    "*{box-sizing:border-box;margin:0}\n"
    "body{background:var(--bg);color:var(--ink);padding:clamp(1rem,3vw,2.5rem);"
    "max-width:1500px;margin:auto;"
    "font:15px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',sans-serif;"
    "font-variant-numeric:tabular-nums}\n"
    "h1{font-size:clamp(1.5rem,3.2vw,2.3rem);line-height:1.15;letter-spacing:-.02em;"
    "overflow-wrap:anywhere}\n"
    "a{color:inherit}\n"
    ".over{color:var(--accent);font-weight:600;font-size:.8rem;letter-spacing:.08em;"
    "text-transform:uppercase}\n"
    ".soft{color:var(--soft)}\n"
    ".stats{display:flex;flex-wrap:wrap;gap:.75rem 2.5rem;margin-top:1.25rem}\n"
    ".stats dt{color:var(--soft);font-size:.8rem}\n"
    ".stats dd{font-size:1.35rem;font-weight:650;letter-spacing:-.01em}\n"
    ".stats small{font-size:.85rem;font-weight:400;color:var(--soft)}\n"
    "footer{color:var(--soft);font-size:.85rem;margin-top:2.5rem;border-top:1px solid var(--line);"
    "padding-top:1rem;max-width:75ch}\n";

void wk_html_begin(FILE *out, const char *title, const char *style) {
    fputs("<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n"
          "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>",
          out);
    wk_html_text(out, title);
    fprintf(out, "</title>\n<style>\n%s%s</style>\n<body>\n", shared_style, style);
}

void wk_html_end(FILE *out) { fputs("</body>\n</html>\n", out); }
