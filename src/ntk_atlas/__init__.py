"""NTK Atlas: where do finite networks leave neural tangent kernel theory?"""
