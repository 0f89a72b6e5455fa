/*
 * Predicates of the INSN_IF rows of insn_simd.def: `static bool a64_if_NAME(uint32_t insn)`. For decode.c only. Many
 * rows share a condition, so a row's name stands for the condition's function.
 */
#ifndef PIPIT_JIT_A64_DECODE_SIMD_H
#define PIPIT_JIT_A64_DECODE_SIMD_H

#include "jit/a64/decode.h"
#include "vmm/base/util.h"

static unsigned q(uint32_t insn)
{
    return insn >> 30 & 1;
}

static unsigned size(uint32_t insn)
{
    return insn >> 22 & 3;
}

static unsigned immh(uint32_t insn)
{
    return insn >> 19 & 15;
}

/* A 64-bit vector has no 64-bit lanes. */
static bool if_vector(uint32_t insn)
{
    return size(insn) != 3 || q(insn);
}

/* opc 3 is free: pairs and literals of s, d, q. */
static bool if_pair_fp(uint32_t insn)
{
    return insn >> 30 != 3;
}

/* 16-byte registers have bit 23 and no other size. */
static bool if_size_fp(uint32_t insn)
{
    return !(insn & BIT32(23)) || insn >> 30 == 0;
}

/* LD2..LD4 have no one-element vectors. */
static bool if_structure(uint32_t insn)
{
    return (insn >> 10 & 3) != 3 || q(insn);
}

/* Bits 15:14 are the lane size, 10 for words and double words; what the index does not use is zero. */
static bool if_lane(uint32_t insn)
{
    unsigned low = insn >> 10 & 3;
    switch (insn >> 14 & 3) {
    case 0: return true;
    case 1: return !(low & 1);
    case 2: return low == 0 || (low == 1 && !(insn & BIT32(12)));
    default: return false;
    }
}

/* W registers have at most 32 fraction bits. */
static bool if_fixed_gpr(uint32_t insn)
{
    return insn >> 31 || insn & BIT32(15);
}

static bool if_imm5_vector(uint32_t insn)
{
    return (insn >> 16 & 15) && (q(insn) || (insn >> 16 & 15) != 8);
}

/* The lowest set bit of 19:16 is the lane size. */
static bool if_imm5(uint32_t insn)
{
    return insn >> 16 & 15;
}

/* b, h to W or X; s to X. */
static bool if_smov(uint32_t insn)
{
    return (insn >> 16 & 3) || (q(insn) && (insn >> 16 & 7));
}

/* b, h, s to W; d to X. */
static bool if_umov(uint32_t insn)
{
    return q(insn) ? (insn >> 16 & 15) == 8 : (insn >> 16 & 7) != 0;
}

static bool if_ext(uint32_t insn)
{
    return q(insn) || !(insn & BIT32(14));
}

static bool if_no_d(uint32_t insn)
{
    return size(insn) != 3;
}

static bool if_hs(uint32_t insn)
{
    return size(insn) == 1 || size(insn) == 2;
}

/* The same for bit 22 of FP rows. */
static bool if_vector_fp(uint32_t insn)
{
    return !(insn & BIT32(22)) || q(insn);
}

static bool if_complex(uint32_t insn)
{
    return size(insn) != 0 && if_vector(insn);
}

/* At least four lanes. */
static bool if_across(uint32_t insn)
{
    return size(insn) < 2 || (size(insn) == 2 && q(insn));
}

/* Double words have one index bit, H. */
static bool if_element_fp(uint32_t insn)
{
    return !(insn & BIT32(22)) || (q(insn) && !(insn & BIT32(21)));
}

static bool if_element_fp_scalar(uint32_t insn)
{
    return !(insn & BIT32(22)) || !(insn & BIT32(21));
}

/* Half: index H:L, single: index H. */
static bool if_element_complex(uint32_t insn)
{
    return size(insn) == 1 ? q(insn) || !(insn & BIT32(11)) : size(insn) == 2 && q(insn) && !(insn & BIT32(21));
}

/* immh 0 are the modified immediates. */
static bool if_shift(uint32_t insn)
{
    return immh(insn) && (q(insn) || immh(insn) < 8);
}

static bool if_shift_scalar(uint32_t insn)
{
    return immh(insn);
}

static bool if_shift_narrow(uint32_t insn)
{
    return immh(insn) && immh(insn) < 8;
}

/* Half has rows of its own. */
static bool if_fixed_vector(uint32_t insn)
{
    return immh(insn) >= 4 && (q(insn) || immh(insn) < 8);
}

static bool if_fixed_scalar(uint32_t insn)
{
    return immh(insn) >= 4;
}

#define a64_if_uzp1 if_vector
#define a64_if_trn1 if_vector
#define a64_if_zip1 if_vector
#define a64_if_uzp2 if_vector
#define a64_if_trn2 if_vector
#define a64_if_zip2 if_vector
#define a64_if_sqadd_v if_vector
#define a64_if_uqadd_v if_vector
#define a64_if_sqsub_v if_vector
#define a64_if_uqsub_v if_vector
#define a64_if_cmgt_v if_vector
#define a64_if_cmhi_v if_vector
#define a64_if_cmge_v if_vector
#define a64_if_cmhs_v if_vector
#define a64_if_sshl_v if_vector
#define a64_if_ushl_v if_vector
#define a64_if_sqshl_v if_vector
#define a64_if_uqshl_v if_vector
#define a64_if_srshl_v if_vector
#define a64_if_urshl_v if_vector
#define a64_if_sqrshl_v if_vector
#define a64_if_uqrshl_v if_vector
#define a64_if_add_v if_vector
#define a64_if_sub_v if_vector
#define a64_if_cmtst_v if_vector
#define a64_if_cmeq_v if_vector
#define a64_if_addp_v if_vector
#define a64_if_suqadd_v if_vector
#define a64_if_sqabs_v if_vector
#define a64_if_cmgt0_v if_vector
#define a64_if_cmeq0_v if_vector
#define a64_if_cmlt0_v if_vector
#define a64_if_abs_v if_vector
#define a64_if_usqadd_v if_vector
#define a64_if_sqneg_v if_vector
#define a64_if_cmge0_v if_vector
#define a64_if_cmle0_v if_vector
#define a64_if_neg_v if_vector

#define a64_if_ldr_fp_lit if_pair_fp
#define a64_if_stnp_fp if_pair_fp
#define a64_if_stp_fp_post if_pair_fp
#define a64_if_stp_fp_off if_pair_fp
#define a64_if_stp_fp_pre if_pair_fp
#define a64_if_ldnp_fp if_pair_fp
#define a64_if_ldp_fp_post if_pair_fp
#define a64_if_ldp_fp_off if_pair_fp
#define a64_if_ldp_fp_pre if_pair_fp

#define a64_if_str_fp_unscaled if_size_fp
#define a64_if_str_fp_post if_size_fp
#define a64_if_str_fp_pre if_size_fp
#define a64_if_str_fp_uimm if_size_fp
#define a64_if_str_fp_reg if_size_fp
#define a64_if_ldr_fp_unscaled if_size_fp
#define a64_if_ldr_fp_post if_size_fp
#define a64_if_ldr_fp_pre if_size_fp
#define a64_if_ldr_fp_uimm if_size_fp
#define a64_if_ldr_fp_reg if_size_fp

#define a64_if_st2 if_structure
#define a64_if_st2_post if_structure
#define a64_if_st3 if_structure
#define a64_if_st3_post if_structure
#define a64_if_st4 if_structure
#define a64_if_st4_post if_structure
#define a64_if_ld2 if_structure
#define a64_if_ld2_post if_structure
#define a64_if_ld3 if_structure
#define a64_if_ld3_post if_structure
#define a64_if_ld4 if_structure
#define a64_if_ld4_post if_structure

#define a64_if_st1_lane if_lane
#define a64_if_st1_lane_post if_lane
#define a64_if_st2_lane if_lane
#define a64_if_st2_lane_post if_lane
#define a64_if_st3_lane if_lane
#define a64_if_st3_lane_post if_lane
#define a64_if_st4_lane if_lane
#define a64_if_st4_lane_post if_lane
#define a64_if_ld1_lane if_lane
#define a64_if_ld1_lane_post if_lane
#define a64_if_ld2_lane if_lane
#define a64_if_ld2_lane_post if_lane
#define a64_if_ld3_lane if_lane
#define a64_if_ld3_lane_post if_lane
#define a64_if_ld4_lane if_lane
#define a64_if_ld4_lane_post if_lane

#define a64_if_scvtf_gx if_fixed_gpr
#define a64_if_scvtf_gxh if_fixed_gpr
#define a64_if_ucvtf_gx if_fixed_gpr
#define a64_if_ucvtf_gxh if_fixed_gpr
#define a64_if_fcvtzs_gx if_fixed_gpr
#define a64_if_fcvtzs_gxh if_fixed_gpr
#define a64_if_fcvtzu_gx if_fixed_gpr
#define a64_if_fcvtzu_gxh if_fixed_gpr

#define a64_if_dup_elem_v if_imm5_vector
#define a64_if_dup_gen if_imm5_vector

#define a64_if_dup_elem_s if_imm5
#define a64_if_ins_gen if_imm5
#define a64_if_ins_elem if_imm5

#define a64_if_smov if_smov

#define a64_if_umov if_umov

#define a64_if_ext if_ext

#define a64_if_shadd_v if_no_d
#define a64_if_uhadd_v if_no_d
#define a64_if_srhadd_v if_no_d
#define a64_if_urhadd_v if_no_d
#define a64_if_shsub_v if_no_d
#define a64_if_uhsub_v if_no_d
#define a64_if_smax_v if_no_d
#define a64_if_umax_v if_no_d
#define a64_if_smin_v if_no_d
#define a64_if_umin_v if_no_d
#define a64_if_sabd_v if_no_d
#define a64_if_uabd_v if_no_d
#define a64_if_saba_v if_no_d
#define a64_if_uaba_v if_no_d
#define a64_if_mla_v if_no_d
#define a64_if_mls_v if_no_d
#define a64_if_mul_v if_no_d
#define a64_if_smaxp_v if_no_d
#define a64_if_umaxp_v if_no_d
#define a64_if_sminp_v if_no_d
#define a64_if_uminp_v if_no_d
#define a64_if_saddl_v if_no_d
#define a64_if_saddw_v if_no_d
#define a64_if_ssubl_v if_no_d
#define a64_if_ssubw_v if_no_d
#define a64_if_addhn_v if_no_d
#define a64_if_sabal_v if_no_d
#define a64_if_subhn_v if_no_d
#define a64_if_sabdl_v if_no_d
#define a64_if_smlal_v if_no_d
#define a64_if_smlsl_v if_no_d
#define a64_if_smull_v if_no_d
#define a64_if_uaddl_v if_no_d
#define a64_if_uaddw_v if_no_d
#define a64_if_usubl_v if_no_d
#define a64_if_usubw_v if_no_d
#define a64_if_raddhn_v if_no_d
#define a64_if_uabal_v if_no_d
#define a64_if_rsubhn_v if_no_d
#define a64_if_uabdl_v if_no_d
#define a64_if_umlal_v if_no_d
#define a64_if_umlsl_v if_no_d
#define a64_if_umull_v if_no_d
#define a64_if_rev64_v if_no_d
#define a64_if_saddlp_v if_no_d
#define a64_if_sadalp_v if_no_d
#define a64_if_xtn_v if_no_d
#define a64_if_sqxtn_v if_no_d
#define a64_if_sqxtn_s if_no_d
#define a64_if_uaddlp_v if_no_d
#define a64_if_uadalp_v if_no_d
#define a64_if_sqxtun_v if_no_d
#define a64_if_sqxtun_s if_no_d
#define a64_if_uqxtn_v if_no_d
#define a64_if_uqxtn_s if_no_d
#define a64_if_cls_v if_no_d
#define a64_if_clz_v if_no_d
#define a64_if_shll_v if_no_d

#define a64_if_sqdmulh_v if_hs
#define a64_if_sqdmulh_s if_hs
#define a64_if_sqrdmulh_v if_hs
#define a64_if_sqrdmulh_s if_hs
#define a64_if_sqrdmlah_v if_hs
#define a64_if_sqrdmlah_s if_hs
#define a64_if_sqrdmlsh_v if_hs
#define a64_if_sqrdmlsh_s if_hs
#define a64_if_sqdmlal_v if_hs
#define a64_if_sqdmlal_s if_hs
#define a64_if_sqdmlsl_v if_hs
#define a64_if_sqdmlsl_s if_hs
#define a64_if_sqdmull_v if_hs
#define a64_if_sqdmull_s if_hs
#define a64_if_smlal_e if_hs
#define a64_if_smlsl_e if_hs
#define a64_if_smull_e if_hs
#define a64_if_umlal_e if_hs
#define a64_if_umlsl_e if_hs
#define a64_if_umull_e if_hs
#define a64_if_mul_e if_hs
#define a64_if_mla_e if_hs
#define a64_if_mls_e if_hs
#define a64_if_sqdmlal_e if_hs
#define a64_if_sqdmlal_es if_hs
#define a64_if_sqdmlsl_e if_hs
#define a64_if_sqdmlsl_es if_hs
#define a64_if_sqdmull_e if_hs
#define a64_if_sqdmull_es if_hs
#define a64_if_sqdmulh_e if_hs
#define a64_if_sqdmulh_es if_hs
#define a64_if_sqrdmulh_e if_hs
#define a64_if_sqrdmulh_es if_hs
#define a64_if_sqrdmlah_e if_hs
#define a64_if_sqrdmlah_es if_hs
#define a64_if_sqrdmlsh_e if_hs
#define a64_if_sqrdmlsh_es if_hs

#define a64_if_fmaxnm_v if_vector_fp
#define a64_if_fminnm_v if_vector_fp
#define a64_if_fmaxnmp_v if_vector_fp
#define a64_if_fminnmp_v if_vector_fp
#define a64_if_fmla_v if_vector_fp
#define a64_if_fmls_v if_vector_fp
#define a64_if_fadd_v if_vector_fp
#define a64_if_fsub_v if_vector_fp
#define a64_if_faddp_v if_vector_fp
#define a64_if_fabd_v if_vector_fp
#define a64_if_fmulx_v if_vector_fp
#define a64_if_fmul_v if_vector_fp
#define a64_if_fcmeq_v if_vector_fp
#define a64_if_fcmge_v if_vector_fp
#define a64_if_fcmgt_v if_vector_fp
#define a64_if_facge_v if_vector_fp
#define a64_if_facgt_v if_vector_fp
#define a64_if_fmax_v if_vector_fp
#define a64_if_fmin_v if_vector_fp
#define a64_if_fmaxp_v if_vector_fp
#define a64_if_fminp_v if_vector_fp
#define a64_if_frecps_v if_vector_fp
#define a64_if_frsqrts_v if_vector_fp
#define a64_if_fdiv_v if_vector_fp
#define a64_if_frintn_v if_vector_fp
#define a64_if_frintp_v if_vector_fp
#define a64_if_frinta_v if_vector_fp
#define a64_if_frintm_v if_vector_fp
#define a64_if_frintz_v if_vector_fp
#define a64_if_frintx_v if_vector_fp
#define a64_if_frinti_v if_vector_fp
#define a64_if_fcvtns_v if_vector_fp
#define a64_if_fcvtps_v if_vector_fp
#define a64_if_fcvtnu_v if_vector_fp
#define a64_if_fcvtpu_v if_vector_fp
#define a64_if_fcvtms_v if_vector_fp
#define a64_if_fcvtzs_v if_vector_fp
#define a64_if_fcvtmu_v if_vector_fp
#define a64_if_fcvtzu_v if_vector_fp
#define a64_if_fcvtas_v if_vector_fp
#define a64_if_fcvtau_v if_vector_fp
#define a64_if_scvtf_v if_vector_fp
#define a64_if_ucvtf_v if_vector_fp
#define a64_if_frecpe_v if_vector_fp
#define a64_if_frsqrte_v if_vector_fp
#define a64_if_fcmgt0_v if_vector_fp
#define a64_if_fcmge0_v if_vector_fp
#define a64_if_fcmeq0_v if_vector_fp
#define a64_if_fcmle0_v if_vector_fp
#define a64_if_fcmlt0_v if_vector_fp
#define a64_if_fabs_v if_vector_fp
#define a64_if_fneg_v if_vector_fp
#define a64_if_fsqrt_v if_vector_fp
#define a64_if_frint32z_v if_vector_fp
#define a64_if_frint32x_v if_vector_fp
#define a64_if_frint64z_v if_vector_fp
#define a64_if_frint64x_v if_vector_fp

#define a64_if_fcmla_v if_complex
#define a64_if_fcadd_v if_complex

#define a64_if_saddlv if_across
#define a64_if_smaxv if_across
#define a64_if_sminv if_across
#define a64_if_addv if_across
#define a64_if_uaddlv if_across
#define a64_if_umaxv if_across
#define a64_if_uminv if_across

#define a64_if_fmla_e if_element_fp
#define a64_if_fmls_e if_element_fp
#define a64_if_fmul_e if_element_fp
#define a64_if_fmulx_e if_element_fp

#define a64_if_fmla_es if_element_fp_scalar
#define a64_if_fmls_es if_element_fp_scalar
#define a64_if_fmul_es if_element_fp_scalar
#define a64_if_fmulx_es if_element_fp_scalar

#define a64_if_fcmla_e if_element_complex

#define a64_if_sshr_iv if_shift
#define a64_if_ssra_iv if_shift
#define a64_if_srshr_iv if_shift
#define a64_if_srsra_iv if_shift
#define a64_if_sqshl_iv if_shift
#define a64_if_shl_iv if_shift
#define a64_if_ushr_iv if_shift
#define a64_if_usra_iv if_shift
#define a64_if_urshr_iv if_shift
#define a64_if_ursra_iv if_shift
#define a64_if_uqshl_iv if_shift
#define a64_if_sli_iv if_shift
#define a64_if_sri_iv if_shift
#define a64_if_sqshlu_iv if_shift

#define a64_if_sqshl_is if_shift_scalar
#define a64_if_uqshl_is if_shift_scalar
#define a64_if_sqshlu_is if_shift_scalar

#define a64_if_shrn_iv if_shift_narrow
#define a64_if_rshrn_iv if_shift_narrow
#define a64_if_sqshrn_iv if_shift_narrow
#define a64_if_sqshrn_is if_shift_narrow
#define a64_if_sqrshrn_iv if_shift_narrow
#define a64_if_sqrshrn_is if_shift_narrow
#define a64_if_sshll_iv if_shift_narrow
#define a64_if_sqshrun_iv if_shift_narrow
#define a64_if_sqshrun_is if_shift_narrow
#define a64_if_sqrshrun_iv if_shift_narrow
#define a64_if_sqrshrun_is if_shift_narrow
#define a64_if_uqshrn_iv if_shift_narrow
#define a64_if_uqshrn_is if_shift_narrow
#define a64_if_uqrshrn_iv if_shift_narrow
#define a64_if_uqrshrn_is if_shift_narrow
#define a64_if_ushll_iv if_shift_narrow

#define a64_if_scvtf_iv if_fixed_vector
#define a64_if_fcvtzs_iv if_fixed_vector
#define a64_if_ucvtf_iv if_fixed_vector
#define a64_if_fcvtzu_iv if_fixed_vector

#define a64_if_scvtf_is if_fixed_scalar
#define a64_if_fcvtzs_is if_fixed_scalar
#define a64_if_ucvtf_is if_fixed_scalar
#define a64_if_fcvtzu_is if_fixed_scalar

#endif
