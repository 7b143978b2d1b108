/* A table as text, Markdown and CSV. */
#include "worker/report/table.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { CELL = WK_TABLE_NAME + 8 };

static const char *title(const wk_table_t *table, int column) {
    return column == 0 ? "Overall" : wk_answer_type_title(table->column[column]);
}

/* Characters on a terminal, not bytes. */
static int width_of(const char *text) {
    int n = 0;
    for (; *text != '\0'; text++) n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

static void pad(FILE *out, const char *text, int width, bool left) {
    const int spaces = width > width_of(text) ? width - width_of(text) : 0;
    fprintf(out, "%*s%s%*s", left ? 0 : spaces, "", text, left ? spaces : 0, "");
}

static void put_mean(const wk_table_cell_t *cell, char text[CELL]) {
    int n = snprintf(text, CELL, "%.2f", cell->mean);
    if (!isnan(cell->deviation)) snprintf(text + n, CELL - (size_t)n, " ± %.2f", cell->deviation);
}

static void put_difference(const wk_table_cell_t *cell, char text[CELL]) {
    int n = snprintf(text, CELL, "%+.2f", cell->difference);
    if (!isnan(cell->low))
        snprintf(text + n, CELL - (size_t)n, " [%+.2f, %+.2f]", cell->low, cell->high);
}

/* Text of a place in one of the two tables; column 0 is the name. Row -1 is the head. */
static void put_place(const wk_table_t *table, bool differences, int row, int column,
                      char text[CELL]) {
    const wk_table_row_t *r = row >= 0 ? &table->row[row] : NULL;
    const int before = differences ? 1 : 3;
    text[0] = '\0';
    if (column >= before && r == NULL)
        snprintf(text, CELL, "%s", title(table, column - before));
    else if (column >= before)
        (differences ? put_difference : put_mean)(&r->cell[column - before], text);
    else if (column == 0)
        snprintf(text, CELL, "%s", r != NULL ? r->name : "");
    else if (r == NULL)
        snprintf(text, CELL, "%s", column == 1 ? "runs" : "cells");
    else if (column == 1)
        snprintf(text, CELL, "%d", r->runs);
    else
        snprintf(text, CELL, "%.2f", r->cells_mean);
}

static void put_rows(const wk_table_t *table, bool differences, bool markdown, FILE *out) {
    const int columns = table->columns + (differences ? 1 : 3);
    char text[CELL];
    for (int row = -1; row < table->rows; row++) {
        if (row == 0 && differences) continue;
        if (markdown) fputs("|", out);
        for (int column = 0; column < columns; column++) {
            int wide = 0;
            for (int r = -1; r < table->rows && !markdown; r++) {
                put_place(table, differences, r, column, text);
                if (width_of(text) > wide) wide = width_of(text);
            }
            put_place(table, differences, row, column, text);
            fputs(markdown ? " " : column > 0 ? "  " : "", out);
            pad(out, text, wide, column == 0);
            if (markdown) fputs(" |", out);
        }
        fputs("\n", out);
        for (int column = 0; markdown && row == -1 && column < columns; column++)
            fprintf(out, "%s%s|%s", column == 0 ? "|" : "",
                    column == 0 ? "---" : "---:", column + 1 == columns ? "\n" : "");
    }
}

static void put_quoted(FILE *out, const char *text) {
    putc('"', out);
    for (; *text != '\0'; text++) {
        if (*text == '"') putc('"', out);
        putc(*text, out);
    }
    putc('"', out);
}

static void put_number(FILE *out, double value) {
    if (isnan(value))
        fputs(",", out);
    else
        fprintf(out, ",%.4f", value);
}

/* A line for every row and column: what a script reads without knowing the types. */
static void put_csv(const wk_table_t *table, FILE *out) {
    fputs("model,runs,cells,questions,accuracy,deviation,difference,low,high\n", out);
    for (int row = 0; row < table->rows; row++)
        for (int c = 0; c < table->columns; c++) {
            const wk_table_row_t *r = &table->row[row];
            put_quoted(out, r->name);
            fprintf(out, ",%d,%.4f,", r->runs, r->cells_mean);
            put_quoted(out, title(table, c));
            put_number(out, r->cell[c].mean);
            put_number(out, r->cell[c].deviation);
            put_number(out, r->cell[c].difference);
            put_number(out, r->cell[c].low);
            put_number(out, r->cell[c].high);
            putc('\n', out);
        }
}

void wk_table_write(const wk_table_t *table, wk_table_format_t format, FILE *out) {
    if (format == WK_TABLE_CSV) {
        put_csv(table, out);
        return;
    }
    const bool markdown = format == WK_TABLE_MARKDOWN;
    bool seeds = false;
    for (int row = 0; row < table->rows; row++) seeds |= table->row[row].runs > 1;
    fprintf(out, "Accuracy (%s) on %" PRIu64 " questions of %s%s.\n\n",
            wk_metric_name(table->metric), table->questions, table->split,
            seeds ? "; ± is the standard deviation over runs" : "");
    put_rows(table, false, markdown, out);
    if (table->rows < 2) return;
    fprintf(out, "\nDifference to %s", table->row[0].name);
    if (table->samples > 0)
        fprintf(out, " and its 95 %% interval, %d draws of %" PRIu64 " images", table->samples,
                table->images);
    fputs(".\n\n", out);
    put_rows(table, true, markdown, out);
}
