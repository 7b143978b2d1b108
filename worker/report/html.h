/* Writing self-contained HTML: escaped text, embedded files, the style that all pages share. Pages
 * are built in memory (open_memstream) and written whole. */
#ifndef WK_HTML_H
#define WK_HTML_H

#include <stddef.h>
#include <stdio.h>

/* Text between tags or inside quotes: & < > " ' become entities, control characters and bytes that
 * are not UTF-8 become U+FFFD. */
void wk_html_text(FILE *out, const char *text);

void wk_html_base64(FILE *out, const void *data, size_t bytes);

/* <!doctype> up to and with <body>; `style` follows the shared rules. */
void wk_html_begin(FILE *out, const char *title, const char *style);
void wk_html_end(FILE *out);

#endif
