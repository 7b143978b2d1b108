#include "worker/report/masks_page.h"

#include "worker/report/html.h"

#include <inttypes.h>
#include <string.h>

static const char style[] =
    "input{position:absolute;opacity:0;pointer-events:none}\n"
    "header{display:grid;grid-template-columns:1fr minmax(0,24rem);gap:1.5rem 4rem;"
    "align-items:end}\n"
    "@media(max-width:760px){header{grid-template-columns:1fr}}\n"
    ".bars{display:grid;grid-template-columns:max-content 1fr max-content;gap:.35rem .8rem;"
    "align-items:center;font-size:.9rem}\n"
    ".bars i{height:.5rem;border-radius:9px;background:linear-gradient(var(--accent) 0 0) "
    "0/var(--w) 100% no-repeat,var(--fill)}\n"
    "nav{position:sticky;top:0;z-index:2;display:flex;flex-wrap:wrap;gap:.6rem;"
    "padding:.9rem 0;margin:1rem 0 .4rem;background:var(--bg)}\n"
    "nav div{display:flex;background:var(--fill);border-radius:10px;padding:3px}\n"
    "nav label{padding:.28rem .85rem;border-radius:8px;font-size:.88rem;cursor:pointer;"
    "color:var(--soft);user-select:none}\n"
    "nav label:hover{color:var(--ink)}\n"
    "nav b{font-weight:500;opacity:.7}\n"
    "#f0:checked~nav [for=f0],#f1:checked~nav [for=f1],#f2:checked~nav [for=f2],"
    "#v0:checked~nav [for=v0],#v1:checked~nav [for=v1],#v2:checked~nav [for=v2]"
    "{background:var(--tab);color:var(--ink);box-shadow:var(--shadow)}\n"
    "input:focus-visible~nav{outline:2px solid var(--accent);outline-offset:2px}\n"
    "#f1:checked~main .wrong,#f2:checked~main :is(.right,.partly){display:none}\n"
    "main{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,250px),1fr));"
    "gap:1.25rem}\n"
    ".card{background:var(--card);border:1px solid var(--line);border-radius:16px;"
    "overflow:hidden;box-shadow:var(--shadow);display:flex;flex-direction:column}\n"
    ".pic{position:relative;overflow:hidden}\n"
    ".none{background:#cbd0d8}\n"
    ".img,.pic svg{position:absolute;inset:0;width:100%;height:100%}\n"
    ".img{background-size:100% 100%}\n"
    ".small{image-rendering:pixelated}\n"
    ".pic svg *{transition:opacity .25s}\n"
    "@media(prefers-reduced-motion:reduce){.pic svg *{transition:none}}\n"
    ".veil{fill:#0f1117;opacity:.76}\n"
    ".grid{stroke:#0f1117;stroke-width:1;vector-effect:non-scaling-stroke;opacity:.3}\n"
    ".edge{stroke:#ffb224;stroke-width:2.5;stroke-linecap:square;fill:none;"
    "vector-effect:non-scaling-stroke}\n"
    ".heat{opacity:0}\n"
    ".h0{fill:#0d0829}.h1{fill:#280b53}.h2{fill:#57106e}.h3{fill:#8a226a}"
    ".h4{fill:#bc3754}.h5{fill:#e45a31}.h6{fill:#f98e09}.h7{fill:#f9e07a}\n"
    "#v1:checked~main .heat{opacity:.82}\n"
    "#v1:checked~main .veil,#v1:checked~main .grid{opacity:0}\n"
    "#v1:checked~main .edge{stroke:#fff}\n"
    "#v2:checked~main svg *,#v0:checked~main .pic:hover .veil,"
    "#v0:checked~main .pic:hover .grid{opacity:0}\n"
    ".badge{position:absolute;right:.6rem;top:.6rem;padding:.12rem .6rem;border-radius:99px;"
    "font-size:.76rem;font-weight:650;color:#fff;background:#15824d;box-shadow:0 0 0 2px #fff3}\n"
    ".wrong .badge{background:#c8324b}.partly .badge{background:#b45309}\n"
    ".body{padding:.9rem 1rem 1rem;flex:1;display:flex;flex-direction:column}\n"
    ".body h2{font-size:1rem;line-height:1.35;font-weight:620;overflow-wrap:anywhere}\n"
    ".body ol{list-style:none;padding:0;margin:.65rem 0 .5rem;display:grid;gap:.25rem}\n"
    ".body li{display:flex;justify-content:space-between;gap:1rem;padding:.14rem .6rem;"
    "border-radius:7px;font-size:.88rem;background:linear-gradient(var(--fill) 0 0) "
    "0/var(--w) 100% no-repeat;color:var(--soft);overflow-wrap:anywhere}\n"
    ".body li:first-child{color:var(--ink);font-weight:620}\n"
    ".body .yes{color:var(--good)!important}.wrong .body li:first-child{color:var(--bad)}\n"
    ".truth{font-size:.88rem;padding:0 .6rem .5rem;color:var(--good);overflow-wrap:anywhere}\n"
    ".meta{font-size:.76rem;color:var(--soft);margin-top:auto;padding:.55rem .6rem 0;"
    "border-top:1px solid var(--line);overflow-wrap:anywhere}\n";

static void bars(FILE *out, const wk_masks_summary_t *s) {
    fputs("<div class=\"bars\">\n", out);
    for (int i = 0; i < s->groups; i++) {
        fputs("<span>", out);
        wk_html_text(out, s->group[i].name);
        fprintf(out, "</span><i style=\"--w:%.2f%%\"></i><b>%.2f</b>\n", s->group[i].accuracy,
                s->group[i].accuracy);
    }
    fputs("</div>\n", out);
}

static void toolbar(FILE *out, const wk_masks_summary_t *s) {
    fprintf(out,
            "<nav aria-label=\"What to show\"><div><label for=\"f0\">All <b>%d</b></label>"
            "<label for=\"f1\">Right <b>%d</b></label><label for=\"f2\">Wrong <b>%d</b></label>"
            "</div>\n<div><label for=\"v0\">Selected cells</label>",
            s->right + s->partly + s->wrong, s->right + s->partly, s->wrong);
    if (s->presence) fputs("<label for=\"v1\">Presence</label>", out);
    fputs("<label for=\"v2\">Image</label></div></nav>\n<main>\n", out);
}

void wk_masks_page_begin(FILE *out, const wk_masks_summary_t *s) {
    char title[256];
    snprintf(title, sizeof title, "%s: what it looked at", s->run);
    wk_html_begin(out, title, style);
    fputs("<input type=\"radio\" name=\"f\" id=\"f0\" checked>"
          "<input type=\"radio\" name=\"f\" id=\"f1\"><input type=\"radio\" name=\"f\" id=\"f2\">\n"
          "<input type=\"radio\" name=\"v\" id=\"v0\" checked>"
          "<input type=\"radio\" name=\"v\" id=\"v1\"><input type=\"radio\" name=\"v\" id=\"v2\">\n"
          "<header><div><p class=\"over\">hanps masks</p>\n<h1>",
          out);
    wk_html_text(out, s->run);
    fputs("</h1>\n<p class=\"soft\">", out);
    wk_html_text(out, s->model);
    fputs("</p>\n<dl class=\"stats\"><div><dt>Accuracy on ", out);
    wk_html_text(out, s->split);
    fprintf(out,
            "</dt><dd>%.2f %%</dd></div>"
            "<div><dt>Selected cells</dt><dd>%.1f <small>of %d</small></dd></div>"
            "<div><dt>Step</dt><dd>%" PRId64 "</dd></div>"
            "<div><dt>Questions scored</dt><dd>%" PRIu64 "</dd></div></dl></div>\n",
            s->accuracy, s->cells_mean, s->max_cells, s->step, s->questions);
    bars(out, s);
    fputs("</header>\n", out);
    toolbar(out, s);
}

void wk_masks_page_picture(FILE *out, uint32_t image, const char *type, const void *data,
                           size_t bytes) {
    fprintf(out, "<style>.p%" PRIu32 "{background-image:url(data:%s;base64,", image, type);
    wk_html_base64(out, data, bytes);
    fputs(")}</style>\n", out);
}

static const char *verdict(double score) {
    return score >= 1 ? "right" : score > 0 ? "partly" : "wrong";
}

void wk_masks_page_card(FILE *out, const wk_masks_card_t *card) {
    const char *word = verdict(card->score);
    bool small = card->width <= 128 && card->height <= 128;
    fprintf(out, "<article class=\"card %s\" id=\"q%" PRId64 "\">\n<div class=\"pic%s\" ", word,
            card->question_id, card->width > 0 ? "" : " none");
    if (card->width > 0)
        fprintf(out, "style=\"aspect-ratio:%d/%d\"><div class=\"img%s p%" PRIu32 "\"></div>",
                card->width, card->height, small ? " small" : "", card->image);
    else
        fprintf(out, "style=\"aspect-ratio:%d/%d\">",
                card->mask.columns > 0 ? card->mask.columns : 4,
                card->mask.rows > 0 ? card->mask.rows : 1);
    wk_mask_svg(out, &card->mask);
    fprintf(out, "<span class=\"badge\">%s</span></div>\n<div class=\"body\"><h2>", word);
    wk_html_text(out, card->question);
    fputs("</h2>\n<ol>", out);
    bool found = false;
    for (int i = 0; i < card->guesses; i++) {
        bool yes = strcmp(card->guess[i].text, card->truth) == 0;
        found = found || yes;
        fprintf(out, "<li%s style=\"--w:%.1f%%\"><span>", yes ? " class=\"yes\"" : "",
                100 * card->guess[i].probability);
        wk_html_text(out, card->guess[i].text);
        fprintf(out, "%s</span><span>%.0f %%</span></li>", yes ? " &#10003;" : "",
                100 * card->guess[i].probability);
    }
    fputs("</ol>\n", out);
    if (!found) {
        fputs("<p class=\"truth\">truth: <b>", out);
        wk_html_text(out, card->truth);
        fputs("</b></p>\n", out);
    }
    fputs("<p class=\"meta\">", out);
    wk_html_text(out, card->question_type);
    fputs(card->question_type[0] != '\0' ? " &middot; image " : "image ", out);
    wk_html_text(out, card->image_name);
    fprintf(out, " &middot; %d of %d cells</p></div></article>\n", card->mask.selected,
            card->mask.cells);
}

void wk_masks_page_end(FILE *out, const wk_masks_summary_t *s) {
    fputs("</main>\n<footer>Bright, outlined cells are the ones the model selected for this "
          "question; the answer is computed from them alone. Point at a picture to see all of it. ",
          out);
    if (s->presence)
        fputs("Presence is the norm of a cell's embedding once the question was added: the "
              "selection is its top. ",
              out);
    fputs("Bars under a question are probabilities. Data: ", out);
    wk_html_text(out, s->source);
    fputs(".</footer>\n", out);
    wk_html_end(out);
}

hp_status_t wk_masks_picture(const wk_masks_card_t *card, const wk_picture_t *picture,
                             wk_picture_t *out, hp_error_t *err) {
    enum { PAD = 14, GAP = 8, SCALE = 2 };
    const wk_rgb_t paper = {24, 27, 33}, ink = {236, 234, 228}, soft = {155, 152, 143};
    const wk_rgb_t good = {61, 214, 140}, bad = {255, 113, 137};
    wk_picture_t top = {0};
    char answer[512], truth[512];
    snprintf(answer, sizeof answer, "%s  %.0f %%", card->guesses > 0 ? card->guess[0].text : "-",
             card->guesses > 0 ? 100 * card->guess[0].probability : 0);
    snprintf(truth, sizeof truth, "%s, truth: %s", verdict(card->score), card->truth);
    HP_TRY(wk_mask_draw(picture, &card->mask, &top, err));
    int width = top.width - 2 * PAD, y = top.height + PAD;
    int height = y + wk_picture_text(NULL, 0, 0, width, SCALE, card->question, ink) + GAP +
                 wk_picture_text(NULL, 0, 0, width, SCALE, answer, ink) +
                 wk_picture_text(NULL, 0, 0, width, SCALE, truth, ink) + PAD;
    hp_status_t status = wk_picture_allocate(top.width, height, out, err);
    if (status == HP_OK) {
        wk_picture_fill(out, 0, 0, out->width, out->height, paper);
        memcpy(out->pixel, top.pixel, 3 * (size_t)top.width * (size_t)top.height);
        y += wk_picture_text(out, PAD, y, width, SCALE, card->question, ink) + GAP;
        y += wk_picture_text(out, PAD, y, width, SCALE, answer, card->score > 0 ? good : bad);
        wk_picture_text(out, PAD, y, width, SCALE, truth, soft);
    }
    wk_picture_release(&top);
    return status;
}
