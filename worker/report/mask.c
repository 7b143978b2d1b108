#include "worker/report/mask.h"

#include <stdbool.h>

enum { LONG_SIDE = 480, LEVELS = 8, UNIT = 10 /* SVG units a cell */ };

static bool is_selected(const wk_mask_t *mask, int row, int column) {
    if (row < 0 || column < 0 || row >= mask->rows || column >= mask->columns) return false;
    int cell = row * mask->columns + column;
    for (int i = 0; i < mask->selected; i++)
        if (mask->cell[i] == cell) return true;
    return false;
}

static bool has_grid(const wk_mask_t *mask) {
    return mask->rows > 0 && mask->columns > 0 && mask->rows * mask->columns == mask->cells;
}

/* Presence within this image, 0 .. 1. */
static double relative_presence(const wk_mask_t *mask, int cell) {
    if (mask->presence == NULL) return 0;
    float low = mask->presence[0], high = low;
    for (int i = 1; i < mask->cells; i++) {
        if (mask->presence[i] < low) low = mask->presence[i];
        if (mask->presence[i] > high) high = mask->presence[i];
    }
    return high > low ? (double)(mask->presence[cell] - low) / (double)(high - low) : 0;
}

static hp_status_t enlarge(const wk_picture_t *in, const wk_mask_t *mask, wk_picture_t *out,
                           hp_error_t *err) {
    if (in == NULL) {
        int columns = has_grid(mask) ? mask->columns : 1, rows = has_grid(mask) ? mask->rows : 1;
        int longer = columns > rows ? columns : rows;
        HP_TRY(wk_picture_allocate((columns * LONG_SIDE + longer - 1) / longer,
                                   (rows * LONG_SIDE + longer - 1) / longer, out, err));
        wk_picture_fill(out, 0, 0, out->width, out->height, (wk_rgb_t){203, 208, 216});
        return HP_OK;
    }
    int longer = in->width > in->height ? in->width : in->height;
    if (longer <= LONG_SIDE / 3) {
        int times = LONG_SIDE / longer;
        HP_TRY(wk_picture_allocate(in->width * times, in->height * times, out, err));
        wk_picture_enlarge(in, times, out);
        return HP_OK;
    }
    int width = (int)((long)in->width * LONG_SIDE / longer);
    int height = (int)((long)in->height * LONG_SIDE / longer);
    HP_TRY(wk_picture_allocate(width > 0 ? width : 1, height > 0 ? height : 1, out, err));
    wk_picture_resize(in, out);
    return HP_OK;
}

hp_status_t wk_mask_draw(const wk_picture_t *picture, const wk_mask_t *mask, wk_picture_t *out,
                         hp_error_t *err) {
    const wk_rgb_t veil = {15, 17, 23}, edge = {255, 178, 36};
    HP_TRY(enlarge(picture, mask, out, err));
    if (!has_grid(mask)) return HP_OK;
    for (int r = 0; r < mask->rows; r++)
        for (int c = 0; c < mask->columns; c++) {
            if (is_selected(mask, r, c)) continue;
            int x0 = c * out->width / mask->columns, x1 = (c + 1) * out->width / mask->columns;
            int y0 = r * out->height / mask->rows, y1 = (r + 1) * out->height / mask->rows;
            double dim = 0.8 - 0.25 * relative_presence(mask, r * mask->columns + c);
            wk_picture_blend(out, x0, y0, x1 - x0, y1 - y0, veil, dim);
            wk_picture_blend(out, x0, y0, x1 - x0, 1, veil, 0.5);
            wk_picture_blend(out, x0, y0, 1, y1 - y0, veil, 0.5);
        }
    for (int r = 0; r <= mask->rows; r++)
        for (int c = 0; c <= mask->columns; c++) {
            int x0 = c * out->width / mask->columns, x1 = (c + 1) * out->width / mask->columns;
            int y0 = r * out->height / mask->rows, y1 = (r + 1) * out->height / mask->rows;
            if (is_selected(mask, r, c) != is_selected(mask, r - 1, c))
                wk_picture_fill(out, x0 - 1, y0 - (r == mask->rows ? 3 : 1), x1 - x0 + 3, 3, edge);
            if (is_selected(mask, r, c) != is_selected(mask, r, c - 1))
                wk_picture_fill(out, x0 - (c == mask->columns ? 3 : 1), y0 - 1, 3, y1 - y0 + 3,
                                edge);
        }
    return HP_OK;
}

static void svg_edges(FILE *out, const wk_mask_t *mask) {
    fputs("<path class=\"edge\" d=\"", out);
    for (int r = 0; r <= mask->rows; r++)
        for (int c = 0; c <= mask->columns; c++) {
            bool here = is_selected(mask, r, c);
            if (here != is_selected(mask, r - 1, c))
                fprintf(out, "M%d %dh%d", c * UNIT, r * UNIT, UNIT);
            if (here != is_selected(mask, r, c - 1))
                fprintf(out, "M%d %dv%d", c * UNIT, r * UNIT, UNIT);
        }
    fputs("\"/>", out);
}

static void svg_heat(FILE *out, const wk_mask_t *mask) {
    fputs("<g class=\"heat\">", out);
    for (int level = 0; level < LEVELS; level++) {
        bool any = false;
        for (int cell = 0; cell < mask->cells; cell++) {
            int at = (int)(relative_presence(mask, cell) * LEVELS);
            if ((at < LEVELS ? at : LEVELS - 1) != level) continue;
            if (!any) fprintf(out, "<path class=\"h%d\" d=\"", level);
            any = true;
            fprintf(out, "M%d %dh%dv%dh-%dz", cell % mask->columns * UNIT,
                    cell / mask->columns * UNIT, UNIT, UNIT, UNIT);
        }
        if (any) fputs("\"/>", out);
    }
    fputs("</g>", out);
}

void wk_mask_svg(FILE *out, const wk_mask_t *mask) {
    if (!has_grid(mask)) return;
    int width = mask->columns * UNIT, height = mask->rows * UNIT;
    fprintf(out,
            "<svg viewBox=\"0 0 %d %d\" preserveAspectRatio=\"none\" aria-hidden=\"true\">"
            "<path class=\"veil\" fill-rule=\"evenodd\" d=\"M0 0h%dv%dh-%dz",
            width, height, width, height, width);
    for (int i = 0; i < mask->selected; i++)
        fprintf(out, "M%d %dh%dv%dh-%dz", mask->cell[i] % mask->columns * UNIT,
                mask->cell[i] / mask->columns * UNIT, UNIT, UNIT, UNIT);
    fputs("\"/><path class=\"grid\" d=\"", out);
    for (int r = 1; r < mask->rows; r++) fprintf(out, "M0 %dh%d", r * UNIT, width);
    for (int c = 1; c < mask->columns; c++) fprintf(out, "M%d 0v%d", c * UNIT, height);
    fputs("\"/>", out);
    if (mask->presence != NULL) svg_heat(out, mask);
    svg_edges(out, mask);
    fputs("</svg>", out);
}
