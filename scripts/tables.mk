# The paper's tables (docs/tables.md):  make table-glue SCALE=small DATA=FOLDER
# Each is one sweep over conf/experiment/table_*.yaml, in a folder of its own, and what light_peft.report makes of it. The same
# again runs only what is missing. TASKS, METHODS, SEEDS, MODEL, DATA and OUT replace what is said here; ARGS go to every run.

TABLES := glue superglue squad qa efficiency ablation criteria
SCALE ?= smoke
MINIATURES := outputs/tables/miniatures

# Looked up as NAME_table_scale, NAME_table, NAME_scale.
of = $(or $($(1)),$($(1)_$(2)_$(SCALE)),$($(1)_$(2)),$($(1)_$(SCALE)))

DATA_smoke  := $(MINIATURES)
SEEDS_smoke := 1,2
SEEDS_small := 1,2,3
SEEDS_paper := 1,2,3

FULL         := $(if $(filter paper,$(SCALE)),full_large,full)
CUT_METHODS  := lora_light_20,lora_light_33,lora_light_50,bottleneck_light_33
METHODS_glue       := $(FULL),lora,bottleneck,lora_random_33,lora_layer_33,$(CUT_METHODS)
METHODS_superglue  := $(METHODS_glue)
METHODS_squad      := $(METHODS_glue)
METHODS_qa         := $(METHODS_glue)
METHODS_efficiency := $(FULL),lora,lora_qv,bottleneck,lora_layer_33,$(CUT_METHODS),lora_top_33,lora_fast_33
METHODS_ablation   := lora,lora_light_33,lora_foundation_33,lora_peft_only,lora_modules_33,lora_ranks_33,lora_top_33,lora_mask_33,lora_mask_33_nofold,lora_reference
METHODS_criteria   := lora,lora_taylor_33,lora_mask_33,lora_fisher_33,lora_magnitude_33,lora_gradient_33,lora_random_33,lora_layer_33

TASKS_glue_smoke      := sst2,stsb
TASKS_glue_small      := sst2,stsb,qnli,cola
TASKS_glue            := cola,sst2,mrpc,stsb,qqp,mnli,qnli,rte
TASKS_superglue_smoke := cb,copa
TASKS_superglue_small := boolq,cb,copa,wsc
TASKS_superglue       := boolq,cb,copa,multirc,record,rte_sg,wic,wsc
TASKS_squad_small     := squad
TASKS_squad           := squad,squad_v2
TASKS_qa_smoke        := openbookqa,webqs
TASKS_qa_small        := openbookqa,piqa,arc_easy
TASKS_qa              := openbookqa,piqa,arc_easy,arc_challenge,sciq
TASKS_efficiency      := sst2
TASKS_ablation_smoke  := sst2
TASKS_ablation        := sst2,stsb,qnli
TASKS_criteria_smoke  := sst2
TASKS_criteria        := sst2,stsb,qnli

# Answers are written, and candidates weighed, by a decoder.
MODEL_qa_smoke := tiny_llama
MODEL_qa_paper := opt_1.3b

# What a kind of text needs where it is not what its scale has for all.
WORDS_superglue_small  := data.max_length=128 train.batch_size=16
WORDS_squad_smoke      := task.span.stride=8
WORDS_squad_small      := data.max_length=192 task.span.stride=64 train.batch_size=8
WORDS_qa_smoke         := task.generation.max_new_tokens=4
WORDS_qa_small         := data.max_length=96 train.batch_size=16
WORDS_efficiency_small := data.max_length=128 data.max_eval_samples=256 train.max_steps=12 estimate.steps=6

place = $(or $(OUT),outputs/tables/$(1)_$(SCALE))
said  = $(if $(2),$(1)=$(2))
sweep = $(BIN)/python -m run -m experiment=table_$(1) scale=$(SCALE) $(call said,model,$(call of,MODEL,$(1))) \
	task=$(call of,TASKS,$(1)) method=$(call of,METHODS,$(1)) seed=$(call of,SEEDS,$(1)) \
	$(call said,data.dir,$(call of,DATA,$(1))) $(call of,WORDS,$(1)) hydra.sweep.dir=$(call place,$(1)) $(ARGS)
NOTE_smoke := SCALE=smoke: tiny random models, a few steps, made-up examples; no figure of this table means anything.

.PHONY: $(TABLES:%=table-%)
# The exit code is the sweep's; what has finished is shown also where cells have failed.
$(TABLES:%=table-%): table-%: $(STAMP) $(if $(DATA),,$(if $(filter smoke,$(SCALE)),$(MINIATURES)/.written))
	$(if $(filter smoke small paper,$(SCALE)),,$(error SCALE=$(SCALE): must be smoke, small or paper))
	@status=0; (set -x; $(call sweep,$*)) || status=$$?; \
	$(BIN)/python -m light_peft.report $(call place,$*) --tables $(call place,$*) --print || status=$$((status ? status : $$?)); \
	$(if $(NOTE_$(SCALE)),echo; echo "$(NOTE_$(SCALE))";) exit $$status

$(MINIATURES)/.written: scripts/miniatures.py scripts/miniature_files.py | $(STAMP)
	$(BIN)/python scripts/miniatures.py $(MINIATURES)
	@touch $@
