"""Measures of a reconstruction, one module each: `fidelity` (PSNR, SSIM), and what is written from the papers."""

from hdrvid.metrics.fidelity import psnr, psnr_l, psnr_t, ssim, ssim_l, ssim_t

__all__ = ["psnr", "psnr_l", "psnr_t", "ssim", "ssim_l", "ssim_t"]
