#include "cli/command.h"

#include <stddef.h>

const cli_command_t *cli_commands(void) {
    static const cli_command_t table[] = {
        {"ask", "answer a question about an image", cli_ask},
        {"bench", "the speed of a training step on this machine", cli_bench},
        {"checkpoint", "list, verify, show and compare checkpoints", cli_checkpoint},
        {"config", "print a configuration, or all its keys", cli_config},
        {"data", "make, import, describe and verify data sets", cli_data},
        {"doctor", "look at a cluster before a run: builds, networks, clocks, memory", cli_doctor},
        {"eval", "score a trained model on a split", cli_eval},
        {"export", "write the weights as npz or safetensors", cli_export},
        {"import-weights", "begin a run with weights from a file", cli_import_weights},
        {"extract", "write what a trained trunk makes of pixels as a store of features",
         cli_extract},
        {"masks", "show what a trained model looked at", cli_masks},
        {"monitor", "how a run is doing, worker by worker", cli_monitor},
        {"plan", "how many machines a run needs: speed, traffic and memory by hosts", cli_plan},
        {"report", "curves of one run or several, as a page", cli_report},
        {"score", "score a file of answers, without a model", cli_score},
        {"selection", "what the selection of cells does", cli_selection},
        {"stop", "ask a run for a checkpoint and its end", cli_stop},
        {"table", "accuracies of finished runs, side by side", cli_table},
        {"train", "train a model, in one process or as a rank of mpirun", cli_train},
        {NULL, NULL, NULL},
    };
    return table;
}
